// Asks the hub: within its session, where it has one.

let csrf = null;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function refusal(answer) {
  const told = await answer.json().catch(() => null);
  return new Refused(answer.status, told?.error?.message ?? `the hub answers with status ${answer.status}`);
}

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Refused(0, "the hub does not answer");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** What a GET answers. */
export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const words = new URLSearchParams(given).toString();
  return (await asked(words ? `${path}?${words}` : path)).json();
}

/** What a POST answers. Its CSRF token is asked for once more where it no longer holds. */
export async function post(path, body) {
  const send = () => asked(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(csrf ? { "X-CSRF-Token": csrf } : {}) },
    body: JSON.stringify(body ?? {}),
  });
  try {
    return await (await send()).json();
  } catch (error) {
    const before = csrf;
    if (error.status !== 403) throw error;
    await session();
    if (csrf === before) throw error;
    return (await send()).json();
  }
}

/** Whether the hub lets this browser in; one without sessions lets everybody in who reaches it. */
export async function session() {
  try {
    const told = await get("session");
    csrf = told.csrf ?? null;
    return true;
  } catch (error) {
    csrf = null;
    if (error.status === 401) return false;
    if (error.status === 404) return true;
    throw error;
  }
}

/** Whether a session can be ended here. */
export const inSession = () => csrf !== null;

/** Exchanges a token for a session. */
export async function enter(token) {
  await asked("session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  return session();
}

/** Ends the session. */
export async function leave() {
  await asked("session", { method: "DELETE", headers: csrf ? { "X-CSRF-Token": csrf } : {} });
  csrf = null;
}
