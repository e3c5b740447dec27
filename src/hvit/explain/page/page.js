"use strict";
(() => {
  const main = document.querySelector("main");
  const toolbar = document.querySelector(".toolbar");
  const narrow = matchMedia("screen and (max-width: 50rem)");
  document.documentElement.classList.add("live");

  const cards = () => document.querySelectorAll(".card[data-class]");

  // The method, for all images, and the map of each image's class.

  function showMap(card) {
    const heat = card.querySelector(".stage .heat");
    const method = toolbar.querySelector("[name=method]:checked").value;
    heat.removeAttribute("href");
    for (const button of card.querySelectorAll(".small")) {
      const shown = button.dataset.method === method && button.dataset.class === card.dataset.class;
      button.setAttribute("aria-pressed", shown);
      const source = button.querySelector("img");
      if (shown && source) heat.setAttribute("href", source.getAttribute("src"));
    }
  }

  function showMethod() {
    main.dataset.kind = toolbar.querySelector("[name=method]:checked").dataset.kind;
    for (const card of cards()) {
      // A map is of one class. What was chosen for the tree comes back with the tree.
      if (main.dataset.kind === "map" && card.dataset.class === "all") {
        chooseClass(card, "0");
        card.dataset.before = "all";
      } else if (main.dataset.kind === "tree" && card.dataset.before) {
        chooseClass(card, card.dataset.before);
      } else {
        showMap(card);
      }
    }
  }

  function chooseMethod(key) {
    for (const input of toolbar.querySelectorAll("[name=method]")) input.checked = input.value === key;
    showMethod();
  }

  function chooseClass(card, value) {
    card.dataset.class = value;
    delete card.dataset.before;
    for (const input of card.querySelectorAll(".class input")) input.checked = input.value === value;
    showMap(card);
  }

  document.addEventListener("change", ({ target }) => {
    if (target.name === "method") showMethod();
    else if (target.closest(".class")) chooseClass(target.closest(".card"), target.value);
  });
  document.addEventListener("input", ({ target }) => {
    if (target.id === "strength") document.documentElement.style.setProperty("--heat", target.value / 100);
  });
  document.addEventListener("click", ({ target }) => {
    const button = target.closest(".small");
    if (!button) return;
    chooseClass(button.closest(".card"), button.dataset.class);
    chooseMethod(button.dataset.method);
  });
  toolbar.addEventListener("submit", (event) => event.preventDefault());

  // A block of the tree and its place in the image light up together.

  const boxOf = (node) => node.dataset.box.split(" ").map(Number);

  function light(card, node) {
    const before = card.querySelector(".node.lit");
    if (before === node) return;
    before?.classList.remove("lit");
    node?.classList.add("lit");
    const shade = card.querySelector(".shade");
    const spot = card.querySelector(".spot");
    const readout = card.querySelector(".readout");
    const box = node && boxOf(node);
    spot.style.visibility = box ? "visible" : "hidden";
    if (!box) {
      shade.removeAttribute("d");
      readout.textContent = readout.dataset.hint;
      return;
    }
    const [left, top, width, height] = box;
    const [, , across, down] = card.querySelector(".stage").getAttribute("viewBox").split(" ");
    shade.setAttribute("d", `M0 0H${across}V${down}H0ZM${left} ${top}h${width}v${height}h${-width}Z`);
    for (const [name, value] of Object.entries({ x: left, y: top, width, height })) spot.setAttribute(name, value);
    const place = document.createElement("b");
    place.textContent = node.dataset.place;
    readout.replaceChildren(place, node.getAttribute("aria-label").slice(node.dataset.place.length));
  }

  function restore(card) {
    light(card, card.contains(document.activeElement) ? document.activeElement.closest(".node") : null);
  }

  function blockAt(stage, event) {
    const card = stage.closest(".card");
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(stage.getScreenCTM().inverse());
    let found = null;
    let least = Infinity;
    for (const node of card.querySelectorAll(".node")) {
      const [left, top, width, height] = boxOf(node);
      const inside = point.x >= left && point.x < left + width && point.y >= top && point.y < top + height;
      if (inside && width * height < least) [found, least] = [node, width * height];
    }
    return found;
  }

  document.addEventListener("pointermove", (event) => {
    const stage = event.target.closest?.(".stage");
    if (stage && main.dataset.kind === "tree") light(stage.closest(".card"), blockAt(stage, event));
  });
  document.addEventListener("pointerdown", (event) => {
    const stage = event.target.closest?.(".stage");
    if (stage && main.dataset.kind === "tree") light(stage.closest(".card"), blockAt(stage, event));
  });
  document.addEventListener("pointerover", ({ target }) => {
    const node = target.closest?.(".node");
    if (node) light(node.closest(".card"), node);
  });
  document.addEventListener("pointerout", ({ target, relatedTarget }) => {
    const left = target.closest?.(".node, .stage");
    if (left && !left.contains(relatedTarget)) restore(left.closest(".card"));
  });
  document.addEventListener("focusin", ({ target }) => {
    const node = target.closest(".node");
    if (node) light(node.closest(".card"), node);
  });
  document.addEventListener("focusout", ({ target }) => {
    const node = target.closest(".node");
    if (node) light(node.closest(".card"), null);
  });

  // The arrow keys walk the tree: as the blocks stand on the screen.

  const level = (node) => Number(node.getAttribute("aria-level"));
  const KEYS = { ArrowRight: "next", ArrowLeft: "before", ArrowDown: "child", ArrowUp: "parent" };
  const LIST_KEYS = { ArrowDown: "next", ArrowUp: "before", ArrowRight: "child", ArrowLeft: "parent" };

  function step(node, way) {
    const nodes = [...node.closest(".tree").querySelectorAll(".node")];
    const place = nodes.indexOf(node);
    const row = narrow.matches ? nodes : nodes.filter((one) => level(one) === level(node));
    if (way === "first") return nodes[0];
    if (way === "last") return nodes.at(-1);
    if (way === "next") return row[row.indexOf(node) + 1];
    if (way === "before") return row[row.indexOf(node) - 1];
    if (way === "child") return level(nodes[place + 1] ?? node) > level(node) ? nodes[place + 1] : undefined;
    return nodes.slice(0, place).findLast((one) => level(one) < level(node));
  }

  document.addEventListener("keydown", (event) => {
    const node = event.target.closest(".node");
    if (!node || event.altKey || event.ctrlKey || event.metaKey) return;
    const keys = { ...(narrow.matches ? LIST_KEYS : KEYS), Home: "first", End: "last" };
    if (event.key === "Escape") node.blur();
    if (!keys[event.key]) return;
    event.preventDefault();
    const to = step(node, keys[event.key]);
    if (!to) return;
    node.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });

  function orient() {
    for (const tree of document.querySelectorAll(".tree")) {
      tree.setAttribute("aria-orientation", narrow.matches ? "vertical" : "horizontal");
    }
  }
  narrow.addEventListener("change", orient);
  // A page that adds cards later says so.
  document.addEventListener("hvit:cards", () => {
    orient();
    showMethod();
  });
  orient();
  showMethod();
})();
