"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  // the syntax tree is interpreted, never compiled: the page's policy forbids eval
  const options = {
    actions: false,
    ast: true,
    renderer: "svg",
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };

  async function enliven(picture) {
    const live = document.createElement("div");
    live.className = "live pending";
    picture.append(live);
    try {
      await vegaEmbed(live, read(picture.dataset.spec), options);
      picture.replaceChildren(live);
      live.classList.remove("pending");
    } catch (error) {
      live.remove(); // the static picture stays
      console.error(error);
    }
  }

  async function enlivenAll() {
    for (const picture of document.querySelectorAll("[data-spec]")) {
      await enliven(picture);
      await new Promise((resume) => setTimeout(resume));
    }
    document.documentElement.dataset.charts = "drawn";
  }

  function offerDownload(place, block) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Download ${block.dataset.file}`;
    button.addEventListener("click", async () => {
      const bytes = Uint8Array.from(atob(block.textContent), (character) => character.charCodeAt(0));
      const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await new Response(unpacked).blob());
      link.download = block.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    place.append(" ", button);
  }

  function unfoldForPaper() {
    const folded = () => document.querySelectorAll("details:not(.chart-data):not(.long):not([open])");
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = [...folded()];
      opened.forEach((one) => { one.open = true; });
    });
    window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
  }

  function unfoldTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let folded = target && target.closest("details");
    if (!folded) return;
    for (; folded; folded = folded.parentElement.closest("details")) folded.open = true;
    target.scrollIntoView();
  }

  const place = document.getElementById("download");
  for (const block of place ? document.querySelectorAll("[data-file]") : []) offerDownload(place, block);
  unfoldForPaper();
  unfoldTarget();
  window.addEventListener("hashchange", unfoldTarget);
  window.addEventListener("load", enlivenAll);
})();
