// The live page. Everything that comes from the sensor may carry an attacker's text: it is shown by textContent only.

const ALERTS_SHOWN = 100;
const REFRESH_MS = 2000;
const element = (id) => document.getElementById(id);

let token = sessionStorage.getItem("token") ?? "";

/** A token behind `#token=` never reaches a server or its log; it is taken out of the address at once. */
function takeTokenFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return;
  token = found;
  history.replaceState(null, "", location.pathname);
}

function ask(path, headers = {}) {
  return fetch(path, { headers: { ...headers, Authorization: `Bearer ${token}` }, cache: "no-store" });
}

async function json(path) {
  const response = await ask(path);
  if (!response.ok) throw new Error((await response.json()).detail ?? `status ${response.status}`);
  return response.json();
}

function row(cells) {
  const line = document.createElement("tr");
  for (const { text, look } of cells) {
    const cell = line.insertCell();
    cell.textContent = text ?? "";
    if (look) cell.className = look;
  }
  return line;
}

function seconds(total) {
  if (total === null || total === undefined) return "for good";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = parts.find(([size]) => total >= size) ?? [1, "s"];
  return `${Math.floor(total / size)} ${unit}`;
}

function showHealth(health) {
  const status = element("status");
  status.textContent = `${health.status}, ${health.mode === "enforce" ? "enforcing" : "observing only"}, up ${seconds(health.uptime_secs)}`;
  status.className = health.status;
  const engine = health.capture.engine.others;
  const figures = [
    ["requests", engine.requests],
    ["connections", engine.flows_now],
    ["findings", engine.findings],
    ["packets dropped", (health.capture.xdp.outcomes.dropped_address ?? 0) + (health.capture.xdp.outcomes.dropped_prefix ?? 0)],
    ["segments inspected", health.capture.delivered],
    ["segments lost", health.capture.tap.lost],
  ];
  element("figures").replaceChildren(...figures.map(([name, value]) => {
    const box = document.createElement("div");
    const [term, number] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    number.textContent = Number(value ?? 0).toLocaleString("en");
    box.append(term, number);
    return box;
  }));
  element("checks").replaceChildren(...Object.entries(health.checks).map(([name, check]) =>
    row([{ text: name.replaceAll("_", " ") }, { text: check.status, look: check.status }, { text: check.detail }])));
}

function showBlocked(list) {
  element("none-blocked").hidden = list.entries.length > 0;
  element("blocked").replaceChildren(...list.entries.map((entry) => row([
    { text: entry.target, look: "wire" },
    { text: entry.shadow ? `${entry.origin} (counted only)` : entry.origin },
    { text: entry.reason },
    { text: seconds(entry.remaining_secs) },
    { text: entry.hits.toLocaleString("en") },
  ])));
}

function verdict({ verdict, suppressed, behind }) {
  const more = suppressed ? `, ${suppressed} more` : "";
  const crowd = behind?.sessions > 1 ? ` (${behind.sessions} sessions behind the address)` : "";
  return verdict + more + crowd;
}

function showAlert(alert) {
  const { sensor, http } = alert;
  const best = sensor.findings[0] ?? {};
  const line = row([
    { text: alert.timestamp.slice(0, 19).replace("T", " ") },
    { text: alert.src_ip, look: "wire" },
    { text: sensor.class, look: sensor.severity },
    { text: sensor.confidence.toFixed(2) },
    { text: verdict(sensor) },
    { text: sensor.process?.unit ?? sensor.process?.name, look: "wire" },
    { text: `${http.http_method ?? ""} ${http.hostname ?? ""}${http.url ?? ""}`, look: "wire" },
    { text: `${best.title ?? ""} in ${best.field ?? ""}: ${best.evidence ?? ""}`, look: "wire" },
  ]);
  const table = element("alerts");
  table.prepend(line);
  while (table.rows.length > ALERTS_SHOWN) table.deleteRow(-1);
  element("no-alerts").hidden = true;
}

async function refresh() {
  const [health, blocked] = await Promise.all([json("/api/security/health"), json("/api/security/blocklist?limit=100")]);
  showHealth(health);
  showBlocked(blocked);
}

/** Reads server-sent events; EventSource cannot send the token in a header. */
async function follow(after) {
  let last = after;
  for (;;) {
    try {
      const response = await ask("/api/security/alerts/stream", { "Last-Event-ID": String(last) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      element("stream").textContent = "live";
      let rest = "";
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        const events = (rest + chunk).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
          if (data.length === 0) continue;
          const alert = JSON.parse(data.join("\n"));
          last = alert.sensor.id;
          showAlert(alert);
        }
      }
    } catch (error) {
      element("stream").textContent = `not live: ${error.message}; trying again`;
    }
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

async function connect() {
  await refresh();
  sessionStorage.setItem("token", token);
  element("login").hidden = true;
  element("view").hidden = false;
  const { alerts } = await json(`/api/security/alerts?limit=${ALERTS_SHOWN}`);
  for (const alert of alerts.toReversed()) showAlert(alert);
  follow(alerts[0]?.sensor.id ?? 0);
  setInterval(() => refresh().catch((error) => {
    element("status").textContent = `no answer: ${error.message}`;
    element("status").className = "failing";
  }), REFRESH_MS);
}

element("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  connect().catch((error) => { element("refused").textContent = error.message; });
});
takeTokenFromAddress();
if (token) connect().catch(() => sessionStorage.removeItem("token"));
