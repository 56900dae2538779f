"""The page at `/`: files as a browser reads them, nothing to build, nothing from elsewhere.

`page_routes.py` hands them out. `index.html` is the frame, `hub.js` fills it; `hub.css` is its look. Scripts are modules: `hub.js` chooses
the view by the address, `asking.js` asks the hub, `jobs.js`, `matrix.js`, `profile.js` and `comparing.js` are the views, `confirming.js`
the dialog that asks before anything changes, `parts.js` what views are made of.

To add a view, write a module and name it in `hub.js`. All text goes through `textContent`: names of models are somebody else's text.
"""
