// Asks this page's server: one question, one answer.

/** What is shown when something cannot be done: a title and what to do next. */
export class Refusal extends Error {
  constructor(title, hint) {
    super(title);
    this.hint = hint;
  }
}

/** Return the answer to `question`, a name and what belongs to it.  Throws a Refusal. */
export async function ask(question, details = {}) {
  let answer;
  try {
    const response = await fetch("ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ask: question, ...details }),
    });
    if (!response.ok) throw new Refusal(await response.text(), "");
    answer = await response.json();
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("This page's server does not answer", "Run `autosync web --open` again.");
  }
  if (answer.error) throw new Refusal(answer.error.title, answer.error.hint);
  return answer;
}
