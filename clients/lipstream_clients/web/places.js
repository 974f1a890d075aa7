// The token goes along from page to page.

import { pageLink } from "./studio-api.js";

for (const place of document.querySelectorAll(".places a")) {
  place.href = pageLink(place.getAttribute("href"));
}
