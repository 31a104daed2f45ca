"use strict";
{
  const words = document.getElementById("words");
  const count = document.getElementById("count");
  const rows = [...document.querySelectorAll("table.filtered tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !wanted.every((word) => texts[index].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.value = wanted.length ? `${shown} of ${rows.length}` : "";
  };
  document.getElementById("filter").hidden = false;
  words.addEventListener("input", filter);
  filter();
}
