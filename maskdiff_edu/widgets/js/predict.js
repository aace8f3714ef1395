// A prediction to commit to before one looks (questions.py).

function render({ model, el }) {
  const { question, choices: answers, reveal } = model.get("spec");
  const { stage } = shell(el, model);
  stage.className = "maskdiff-questions";
  const name = newId("prediction");
  const inputs = answers.map(() => make("input", { type: "radio", name, required: true }));
  const options = answers.map((answer, i) =>
    make("label", { className: "maskdiff-option" }, inputs[i], make("span", {}, ...words(answer))),
  );
  const fields = make("fieldset", {}, make("legend", {}, ...words(question)), ...options);
  const button = make("button", { type: "submit", textContent: "That is my prediction" });
  const outcome = make("p", { className: "maskdiff-why", role: "status" });
  const form = make("form", {}, fields, button, outcome);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = answers[inputs.findIndex((input) => input.checked)];
    fields.disabled = true;
    button.hidden = true;
    outcome.className = "maskdiff-why maskdiff-revealed";
    outcome.replaceChildren(make("strong", {}, "You said: ", ...words(chosen), ". "), ...words(reveal));
  });
  stage.append(form);
}

export default { render };
