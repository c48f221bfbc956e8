// The description of the API, shown by Swagger UI. It is read with the token that the dashboard keeps for this tab.

const OTHER_PREFIX = "/aspire/"; // both prefixes serve the same routes: one of them is enough to read
const place = document.getElementById("ui");
document.documentElement.classList.toggle("dark-mode", matchMedia("(prefers-color-scheme: dark)").matches);

function note(...children) {
  const line = document.createElement("p");
  line.className = "note";
  line.append(...children);
  place.replaceChildren(line);
}

function show(description) {
  for (const path of Object.keys(description.paths)) {
    if (path.startsWith(OTHER_PREFIX)) delete description.paths[path];
  }
  SwaggerUIBundle({ spec: description, domNode: place, docExpansion: "list", deepLinking: true, validatorUrl: null });
}

const token = sessionStorage.getItem("coordinator-token");
const answer = await fetch("/openapi.json", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
if (answer.ok) show(await answer.json());
else if (answer.status === 401) {
  const link = Object.assign(document.createElement("a"), { href: "/", textContent: "the dashboard" });
  note("This coordinator asks for a token. Enter it on ", link, " in this tab, then open this page again.");
} else note((await answer.json()).message);
