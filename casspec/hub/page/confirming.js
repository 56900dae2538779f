// The dialog that asks before anything changes.

const dialog = document.getElementById("confirm");
const at = (id) => document.getElementById(`confirm-${id}`);

/**
 * Asks, and does it where the answer is yes; what is refused is said in the dialog.
 *
 * `field`: {label, value, pattern, hint} of a text that is asked for, which `act` is given.
 * Resolves to whether it was done.
 */
export function confirm({ title, text, yes, no = "Keep as it is", danger = false, field = null, act }) {
  const form = dialog.querySelector("form"), input = at("field").querySelector("input");
  const [refuse, agree] = form.querySelectorAll("button");
  at("title").textContent = title;
  at("text").textContent = text;
  at("failed").textContent = "";
  at("field").hidden = !field;
  at("field").querySelector("span").textContent = field?.label ?? "";
  input.disabled = !field;
  input.required = Boolean(field);
  input.value = field?.value ?? "";
  input.pattern = field?.pattern ?? ".*";
  input.title = field?.hint ?? "";
  agree.textContent = yes;
  agree.classList.toggle("danger", danger);
  refuse.textContent = no;
  return new Promise((resolve) => {
    let done = false;
    const close = () => dialog.close();
    const submit = async (event) => {
      event.preventDefault();
      agree.disabled = true;
      try {
        await act(field ? input.value : undefined);
        done = true;
        dialog.close();
      } catch (error) {
        at("failed").textContent = error.message;
      } finally {
        agree.disabled = false;
      }
    };
    refuse.addEventListener("click", close);
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", () => {
      refuse.removeEventListener("click", close);
      form.removeEventListener("submit", submit);
      resolve(done);
    }, { once: true });
    dialog.showModal();
    (field ? input : refuse).focus();
  });
}
