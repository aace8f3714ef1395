// Questions that the page itself answers (questions.py).

function render({ model, el }) {
  const { questions } = model.get("spec");
  const { stage, say } = shell(el, model);
  stage.className = "maskdiff-questions";
  const solved = new Set();

  questions.forEach((question, n) => {
    const name = newId("question");
    const why = make("p", { className: "maskdiff-why", role: "status" });
    const inputs = question.choices.map(() => make("input", { type: "radio", name, required: true }));
    const options = question.choices.map((choice, i) =>
      make("label", { className: "maskdiff-option" }, inputs[i], make("span", {}, ...words(choice.text))),
    );
    const form = make(
      "form",
      {},
      make("fieldset", {},
        make("legend", {}, make("strong", { textContent: `${n + 1}. ` }), ...words(question.text)),
        ...options),
      make("button", { type: "submit", textContent: "Check", "aria-label": `Check answer ${n + 1}` }),
      why,
    );
    // Arrow keys move between radio buttons and choose at once: so only the button gives answers.
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = inputs.findIndex((input) => input.checked);
      const { correct, why: reason } = question.choices[chosen];
      why.className = `maskdiff-why ${correct ? "maskdiff-right" : "maskdiff-wrong"}`;
      why.replaceChildren(make("strong", { textContent: correct ? "✓ Right. " : "✗ Not quite. " }), ...words(reason));
      if (correct) solved.add(n);
      if (solved.size === questions.length) say("All questions answered.");
    });
    form.addEventListener("change", () => {
      why.className = "maskdiff-why";
      why.replaceChildren();
    });
    stage.append(form);
  });
}

export default { render };
