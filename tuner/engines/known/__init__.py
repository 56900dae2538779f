"""The engines that casspec knows, a file each.

`vllm.py`, `sglang.py`, `tensorrt_llm.py` and `llama_cpp.py` follow `tuner/engines/protocol.py`: `one_length.py` has what the last three
have in common, `installed.py` asks what is installed, `by_name.py` finds them.

Read `vllm.py` first. To add an engine, write a module with a class that follows `Engine`, and a row of `ENGINES` in `by_name.py`.
"""
