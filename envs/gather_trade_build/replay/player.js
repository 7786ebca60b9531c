// The player: time, controls, keyboard, and what is written beside the drawings.

const SPEEDS = [1, 2, 5, 10, 20, 50, 100]; // states per second
const FLASH_SECONDS = 0.7; // an event stays in sight at least this long
const BANNER_SECONDS = 2.5;
const FAST = 30; // states per second beyond which motion between states cannot be seen

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const episode = makeEpisode(data, byId("block").textContent);
const { numSteps, numWorkers } = episode;

const world = makeWorld(episode, byId("map"));
const charts = makeCharts(episode, byId("charts"), seek);
const market = makeMarket(episode, byId("books"), byId("trades"));
const taxes = makeTaxes(episode, byId("schedule"), byId("years"), seek);

let time = 0, playing = false, selected = -1, colors = null, lastFrame = 0, shownState = -1;
const speed = () => Number(byId("speed").value);

function seek(state) {
  time = Math.min(numSteps, Math.max(0, Math.round(state)));
  shownState = -1;
  if (!playing) announce();
  draw();
}

function step(by) {
  pause();
  seek(Math.floor(time) + by);
}

function play() {
  if (time >= numSteps) seek(0);
  playing = true;
  lastFrame = performance.now();
  showPlaying();
  requestAnimationFrame(frame);
}

function pause() {
  if (!playing) return;
  playing = false;
  time = Math.min(numSteps, Math.ceil(time - 1e-6));
  showPlaying();
  announce();
  draw();
}

function showPlaying() {
  const button = byId("play");
  button.setAttribute("aria-pressed", String(playing));
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
}

function frame(now) {
  if (!playing) return;
  // A frame's time may lie before the click that asked for it; a page that was out of sight goes on
  // where it was.
  const elapsed = Math.min(0.25, Math.max(0, (now - lastFrame) / 1000));
  lastFrame = now;
  time = Math.min(numSteps, time + elapsed * speed());
  draw();
  if (time >= numSteps) pause(); else requestAnimationFrame(frame);
}

function draw() {
  const still = reducedMotion.matches || (playing && speed() > FAST);
  const shown = still ? Math.floor(time) : time;
  const memory = playing ? Math.max(1, FLASH_SECONDS * speed()) : 1;
  world.draw(shown, memory, selected);
  charts.draw(shown, selected);
  const state = Math.floor(time);
  if (state === shownState) return;
  shownState = state;
  market.draw(state, colors);
  taxes.draw(state, colors, selected);
  fillFigures(state);
  fillWorkers(state);
  showTime(state);
}

function showTime(state) {
  const scrubber = byId("scrubber"), year = episode.yearOf(Math.max(1, state));
  scrubber.value = state;
  scrubber.style.setProperty("--done", `${(100 * state) / numSteps}%`);
  scrubber.setAttribute("aria-valuetext", describe(state));
  const clock = byId("clock");
  clock.replaceChildren(text("b", WHOLE.format(state)), text("span", ` of ${WHOLE.format(numSteps)} · year ${year + 1}, day ${day(state)}`));
  byId("year").textContent = `year ${year + 1} of ${episode.years.length}`;
  const banner = byId("banner"), before = episode.years[year - 1];
  const closed = episode.years[year].closed && episode.years[year].last === state ? episode.years[year] : before;
  const patience = playing ? BANNER_SECONDS * speed() : 0;
  const due = closed?.closed && state >= closed.last && state <= closed.last + patience;
  if (due) {
    const collected = closed.paid.reduce((sum, paid) => sum + paid, 0);
    banner.textContent = `Year ${episode.years.indexOf(closed) + 1} taxed: ${TENTHS.format(collected)} coin collected, ${TENTHS.format(closed.lumpSum)} back to each`;
  }
  banner.classList.toggle("shown", Boolean(due));
}

// The day that the step into a state was played on.
const day = (state) => (state === 0 ? 0 : episode.taxDay[state - 1]);
const describe = (state) => `Step ${state} of ${numSteps}, year ${episode.yearOf(Math.max(1, state)) + 1}, day ${day(state)}`;

function announce() {
  const coins = episode.workers.map((name, worker) => `${name} ${WHOLE.format(episode.value(episode.coin, Math.floor(time), worker))}`);
  byId("announcement").textContent = `${describe(Math.floor(time))}. Coin: ${coins.slice(0, 8).join(", ")}.`;
}

function fillFigures(state) {
  let [coin, houses] = [0, 0];
  for (let worker = 0; worker < numWorkers; worker++) {
    coin += episode.value(episode.coin, state, worker);
    houses += episode.value(episode.houses, state, worker);
  }
  const trades = episode.eventsBetween(episode.tradeStep, 1, state)[1];
  const figures = [
    ["Productivity", WHOLE.format(coin)], ["Equality", PERCENT.format(episode.equality[state])],
    ["Houses", WHOLE.format(houses)], ["Trades", WHOLE.format(trades)],
  ];
  byId("figures").replaceChildren(...figures.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(text("dt", name), text("dd", value));
    return pair;
  }));
}

function makeRows() {
  const heads = byId("workers").tHead.rows[0].cells;
  episode.resources.forEach((name, resource) => { if (resource < 2) heads[2 + resource].textContent = name; });
  byId("workers").tBodies[0].replaceChildren(...episode.workers.map((name, worker) => {
    const row = document.createElement("tr"), button = document.createElement("button"), label = document.createElement("span");
    button.type = "button";
    label.textContent = name;
    button.append(makeDot(episode, worker, colors), label);
    button.setAttribute("aria-label", `Highlight ${name}`);
    button.title = `${name}: ${TENTHS.format(episode.buildPayment[worker])} coin per house. Select to highlight.`;
    button.addEventListener("click", () => { selected = selected === worker ? -1 : worker; prepare(); });
    row.insertCell().append(button);
    for (let column = 1; column < heads.length; column++) row.insertCell();
    return row;
  }));
}

function fillWorkers(state) {
  const { numResources } = episode;
  [...byId("workers").tBodies[0].rows].forEach((row, worker) => {
    const value = (series) => episode.value(series, state, worker);
    const units = (series, resource) => series[(state * numWorkers + worker) * numResources + resource];
    const withEscrow = (cell, held, escrow) => {
      cell.replaceChildren(WHOLE.format(held), ...(escrow >= 0.5 ? [text("small", ` +${WHOLE.format(escrow)}`)] : []));
    };
    const cells = row.cells;
    withEscrow(cells[1], value(episode.coin) - value(episode.escrowCoin), value(episode.escrowCoin));
    for (let resource = 0; resource < Math.min(2, numResources); resource++) {
      withEscrow(cells[2 + resource], units(episode.inventory, resource), units(episode.escrow, resource));
    }
    cells[4].textContent = WHOLE.format(value(episode.houses));
    cells[5].textContent = WHOLE.format(value(episode.labor));
    cells[6].textContent = TENTHS.format(value(episode.utility));
    row.className = selected >= 0 && selected !== worker ? "dimmed" : "";
    cells[0].firstChild.setAttribute("aria-pressed", String(selected === worker));
  });
}

// Trades over time above the scrubber, and where tax years end.
function drawActivity() {
  const { context, width, height } = fit(byId("activity"));
  const bins = new Float32Array(Math.max(1, Math.floor(width / 3)));
  for (const at of episode.tradeStep) bins[Math.min(bins.length - 1, Math.floor((at / (numSteps + 1)) * bins.length))]++;
  const most = Math.max(...bins, 1);
  context.fillStyle = colors.bar;
  bins.forEach((count, i) => {
    const tall = (count / most) * (height - 8);
    context.fillRect((i / bins.length) * width, height - tall, width / bins.length - 1, tall);
  });
  context.fillStyle = colors.muted;
  for (const year of episode.years) {
    if (year.closed && year.last < numSteps) context.fillRect((year.last / numSteps) * width, height - 8, 1, 8);
  }
}

// Everything that depends on the size of the page, the theme or the selection.
function prepare() {
  colors = themeColors(episode);
  makeRows();
  fillLegend(episode, byId("legend"), colors);
  world.resize(colors);
  charts.prepare(colors, selected);
  taxes.prepare(colors);
  shownState = -1;
  draw();
  drawActivity();
}

function changeSpeed(by) {
  const index = SPEEDS.indexOf(speed()) + by;
  if (SPEEDS[index]) byId("speed").value = SPEEDS[index];
}

function changeYear(by) {
  const year = episode.yearOf(Math.max(1, Math.floor(time))) + by;
  if (episode.years[year]) seek(episode.years[year].first); else seek(by < 0 ? 0 : numSteps);
}

const KEYS = {
  " ": () => (playing ? pause() : play()), k: () => (playing ? pause() : play()),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1), ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  ArrowUp: () => changeSpeed(1), ArrowDown: () => changeSpeed(-1),
  PageUp: () => changeYear(-1), PageDown: () => changeYear(1),
  Home: () => step(-Infinity), End: () => step(Infinity),
};

function onKey(event) {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || target.tagName === "SELECT") return;
  // Space on a button presses that button, as everywhere.
  if (event.key === " " && target.tagName === "BUTTON") return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
}

// `#241` in the address opens the page at step 241.
function seekToHash() {
  const state = Number.parseInt(location.hash.slice(1), 10);
  if (Number.isFinite(state)) { pause(); seek(state); }
}

function subtitle() {
  const { config } = episode, words = [`${numWorkers} workers`, `${WHOLE.format(numSteps)} steps`];
  for (const key of ["layout", "tax_model", "policy"]) if (config[key]) words.push(`${key.replace("_", " ")} ${config[key]}`);
  return words.join(" · ");
}

byId("subtitle").textContent = subtitle();
byId("speed").replaceChildren(...SPEEDS.map((value) => new Option(`${value}/s`, value, value === 5, value === 5)));
byId("scrubber").max = numSteps;
byId("scrubber").addEventListener("input", (event) => seek(Number(event.target.value)));
byId("play").addEventListener("click", () => (playing ? pause() : play()));
byId("map").addEventListener("click", () => (playing ? pause() : play()));
byId("back").addEventListener("click", () => step(-1));
byId("forward").addEventListener("click", () => step(1));
addEventListener("keydown", onKey);
addEventListener("hashchange", seekToHash);
addEventListener("resize", prepare);
darkTheme.addEventListener("change", prepare);
reducedMotion.addEventListener("change", draw);
prepare();
seekToHash();
