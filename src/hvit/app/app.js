"use strict";
(() => {
  const main = document.querySelector("main");
  const find = (selector) => main.querySelector(selector);
  const names = JSON.parse(main.dataset.names);
  const kind = main.dataset.kindOfAnswer;
  const first = Number(main.dataset.first);
  const most = { bytes: Number(main.dataset.mostBytes), images: Number(main.dataset.mostImages) };
  const images = new Map();
  let current = null; // the image that is shown
  let asked = 0; // the last request on hidden blocks; answers of older ones are dropped
  let wanted = 0; // the last explanation that was asked for

  const make = (tag, properties = {}, ...children) => {
    const one = Object.assign(document.createElement(tag), properties);
    one.append(...children);
    return one;
  };

  const bare = (name) => make("bdi", { textContent: name });

  function problem(sentence) {
    const close = make("button", { type: "button", textContent: "✕", ariaLabel: "Close" });
    const line = make("p", {}, make("span", { textContent: sentence }), close);
    close.addEventListener("click", () => line.remove());
    find(".problems").append(line);
  }

  async function ask(address, options = {}) {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("hvit app does not answer: start it again in its terminal");
    }
    const text = await response.text();
    if (response.ok) return text;
    let sentence = `hvit app answered with status ${response.status}`;
    try {
      sentence = JSON.parse(text).problem ?? sentence;
    } catch {
      if (response.status === 503) sentence = "hvit app has too much to do: try again";
    }
    throw new Error(sentence);
  }

  // Files come in one after the other.

  let arriving = Promise.resolve();

  function take(files) {
    find(".problems").replaceChildren();
    const many = [...files];
    if (many.length > most.images) problem(`the first ${most.images} of ${many.length} files are shown`);
    for (const file of many.slice(0, most.images)) arriving = arriving.then(() => send(file));
  }

  async function send(file) {
    find(".drop").classList.add("busy");
    try {
      if (file.size > most.bytes) throw new Error(`${file.name}: ${main.dataset.tooLarge}`);
      const headers = { "content-type": "application/octet-stream", "x-file-name": encodeURIComponent(file.name) };
      const image = JSON.parse(await ask("/images", { method: "POST", headers, body: file }));
      image.hidden = new Set();
      image.now = image.answers;
      images.set(image.id, image);
      if (images.size > most.images) images.delete(images.keys().next().value);
      strip();
      show(image);
    } catch (error) {
      problem(error.message);
    } finally {
      find(".drop").classList.remove("busy");
    }
  }

  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    take(event.dataTransfer.files);
  });
  find("#files").addEventListener("change", ({ target }) => {
    take(target.files);
    target.value = "";
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });

  // Numbers as words, and classes in their order.

  const written = (value) => {
    if (kind === "regression") return String(Number(value.toPrecision(4)));
    return `${(100 * value).toFixed(1)}\u00a0%`;
  };
  const order = (answers) => answers.map((_, index) => index).sort((a, b) => answers[b] - answers[a]);
  const top = (answers) => (kind === "regression" ? names.map((_, index) => index) : order(answers)).slice(0, first);
  const most_of = (image) => (kind === "regression" ? 0 : order(image.answers)[0]);

  function strip() {
    const items = [...images.values()].reverse().map((image) => {
      const best = most_of(image);
      const said = make("span", {}, bare(names[best]));
      const button = make(
        "button",
        { type: "button", title: image.name, ariaPressed: String(image === current) },
        make("img", { src: image.picture, alt: image.name }),
        said,
        make("span", { className: "soft", textContent: written(image.answers[best]) }),
      );
      button.addEventListener("click", () => show(image));
      button.dataset.id = image.id;
      return make("li", {}, button);
    });
    find(".strip").replaceChildren(...items);
  }

  async function show(image) {
    current = image;
    wanted += 1;
    asked += 1;
    for (const button of main.querySelectorAll(".strip button")) button.ariaPressed = String(button.dataset.id === image.id);
    find("#answer").hidden = false;
    find("#name").textContent = image.name;
    find("#explanation").replaceChildren();
    main.classList.remove("explained");
    const picture = make("img", { src: image.picture, alt: image.name });
    picture.addEventListener("load", () => find(".picture").classList.toggle("sharp", picture.naturalWidth <= 64));
    find(".picture").replaceChildren(picture);
    find(".remarks").replaceChildren(...image.remarks.map((sentence) => make("p", { textContent: sentence })));
    if (find("#search")) find("#search").value = "";
    rows();
    hint();
    try {
      if (!image.blocks) image.blocks = JSON.parse(await ask(`/images/${image.id}/blocks`));
      if (current === image) grid(image);
    } catch (error) {
      if (current === image) problem(error.message);
    }
  }

  // Blocks are hidden by clicking them.

  function grid(image) {
    const { side, baseline } = image.blocks;
    const blocks = make("div", { className: "blocks", role: "group", ariaLabel: "Blocks of the image" });
    blocks.style.setProperty("--side", side);
    for (let number = 0; number < side * side; number++) {
      const row = Math.floor(number / side);
      const column = number % side;
      const block = make(
        "button",
        {
          type: "button",
          className: "block",
          ariaLabel: `Hide the block in row ${row + 1}, column ${column + 1}`,
          ariaPressed: String(image.hidden.has(number)),
        },
        make("img", { src: baseline, alt: "", draggable: false }),
      );
      block.style.setProperty("--row", row);
      block.style.setProperty("--column", column);
      block.addEventListener("click", () => toggle(image, [number]));
      blocks.append(block);
    }
    find(".picture").append(blocks);
    hint();
  }

  function toggle(image, numbers) {
    for (const number of numbers) if (!image.hidden.delete(number)) image.hidden.add(number);
    main.querySelectorAll(".block").forEach((block, number) => {
      block.ariaPressed = String(image.hidden.has(number));
    });
    hint();
    predict(image);
  }

  async function predict(image) {
    const number = ++asked;
    const { side } = image.blocks;
    const cells = [...image.hidden].map((one) => [Math.floor(one / side), one % side]);
    find(".rows").classList.add("busy");
    try {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ cells });
      const said = JSON.parse(await ask(`/images/${image.id}/hidden`, { method: "POST", headers, body }));
      if (number !== asked) return;
      image.now = cells.length ? said.answers : image.answers;
      image.presentNow = cells.length ? said.present : null;
      rows();
      hint();
    } catch (error) {
      if (number === asked) problem(error.message);
    } finally {
      if (number === asked) find(".rows").classList.remove("busy");
    }
  }

  function hint() {
    const image = current;
    const count = image?.hidden.size ?? 0;
    const all = image?.blocks ? image.blocks.side ** 2 : 0;
    find("#all").disabled = !count;
    find("#swap").disabled = !count || !image?.blocks;
    let words = "Click a block to hide it: what would the model say without it?";
    if (!all) words = "Preparing the blocks …";
    if (count) words = `${count} of ${all} blocks hidden (${image.blocks.words}). The marks show the whole image.`;
    find("#hint").textContent = words;
  }

  find("#all").addEventListener("click", () => toggle(current, [...current.hidden]));
  find("#swap").addEventListener("click", () => toggle(current, [...Array(current.blocks.side ** 2).keys()]));

  // The classes: the most probable ones, of the image and with blocks hidden, or what is searched for.

  function rows() {
    const image = current;
    const changed = image.hidden.size > 0 && image.now !== image.answers;
    const text = (find("#search")?.value ?? "").trim().toLowerCase();
    let shown = [...new Set([...top(image.answers), ...(changed ? top(image.now).slice(0, 2) : [])])];
    let found = null;
    if (text) {
      found = order(image.answers).filter((index) => names[index].toLowerCase().includes(text));
      shown = found.slice(0, 2 * first);
    }
    const present = (changed ? image.presentNow : image.present) ?? [];
    find(".rows").replaceChildren(...shown.map((index) => row(image, index, changed, present.includes(index))));
    const rest = found ? found.length - shown.length : names.length - shown.length;
    const counted = `${rest.toLocaleString("en")} more class${rest === 1 ? "" : "es"}`;
    const none = found && !found.length;
    find("#count").textContent = none ? "No class has this in its name." : rest > 0 ? counted : "";
    find("#count").textContent += `${rest > 0 || none ? ". " : ""}Click a class to see why.`;
  }

  function row(image, index, changed, present) {
    const name = make("span", { className: "name", title: names[index] }, bare(names[index]));
    if (present) name.append(" ", make("b", { textContent: "✓" }));
    const was = make("span", { className: "was", textContent: changed ? `was ${written(image.answers[index])}` : "" });
    const now = make("span", { className: "now", textContent: written(image.now[index]) });
    const button = make("button", { type: "button", className: "row" }, name, was, now);
    button.ariaPressed = String(image.chosen === index && main.classList.contains("explained"));
    button.dataset.index = index;
    if (kind !== "regression") {
      const track = make("span", { className: "track" }, make("span", { className: "fill" }));
      track.firstChild.style.width = `${100 * image.now[index]}%`;
      if (changed) {
        const mark = make("span", { className: "mark" });
        mark.style.left = `${100 * image.answers[index]}%`;
        track.append(mark);
      }
      button.append(track);
    }
    button.addEventListener("click", () => explain(image, index));
    return button;
  }

  find("#search")?.addEventListener("input", rows);

  // An explanation is a card of the page of explanations.

  async function explain(image, index) {
    const number = ++wanted;
    image.chosen = index;
    for (const one of main.querySelectorAll(".row")) one.ariaPressed = String(Number(one.dataset.index) === index);
    const words = make("span", {}, "Explaining ", bare(names[index]), ": hiding blocks in many combinations …");
    const waiting = make("p", { className: "waiting" }, words);
    const place = find("#explanation");
    place.replaceChildren(waiting);
    try {
      const card = await ask(`/images/${image.id}/classes/${index}`);
      if (number !== wanted) return;
      place.innerHTML = card; // escaped where the server made it
      main.classList.add("explained");
      document.dispatchEvent(new Event("hvit:cards"));
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      find(".toolbar").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    } catch (error) {
      if (number !== wanted) return;
      place.replaceChildren();
      main.classList.remove("explained");
      problem(error.message);
    }
  }
})();
