// Filters the items by text, method and benchmark. Without it, or where scripts are off, the folds are all there.
"use strict";
(() => {
  const section = document.getElementById("item-list");
  if (!section) return;
  const groups = [...section.querySelectorAll("details[data-method]")];
  const form = document.createElement("div");
  form.className = "filter";
  const control = (tag, label) => {
    const made = document.createElement(tag);
    made.setAttribute("aria-label", label);
    form.append(made);
    return made;
  };
  const search = control("input", "Filter the items by text");
  search.type = "search";
  search.placeholder = "filter by text";
  const select = (key, label) => {
    const made = control("select", label);
    made.append(new Option(label, ""));
    for (const value of [...new Set(groups.map((group) => group.dataset[key]))].sort()) {
      made.append(new Option(value, value));
    }
    return made;
  };
  const method = select("method", "all methods");
  const check = select("check", "all benchmarks");
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  form.append(count);
  section.prepend(form);
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const group of groups) {
      const inGroup = (!method.value || group.dataset.method === method.value)
        && (!check.value || group.dataset.check === check.value);
      let rows = 0;
      for (const row of group.querySelectorAll("tbody tr")) {
        row.hidden = !inGroup || !row.textContent.toLowerCase().includes(wanted);
        rows += row.hidden ? 0 : 1;
      }
      group.hidden = rows === 0;
      if (wanted && rows) group.open = true;
      shown += rows;
    }
    for (const outer of section.querySelectorAll("details.method")) {
      outer.hidden = ![...outer.querySelectorAll("details")].some((group) => !group.hidden);
      if (wanted && !outer.hidden) outer.open = true;
    }
    count.textContent = `${shown} of the items on this page`;
  };
  for (const each of [search, method, check]) each.addEventListener("input", apply);
  apply();
})();
