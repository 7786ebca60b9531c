// Line charts over the episode, one line per worker: bright up to now, faint beyond.

const CHART_MARGIN = { left: 34, right: 20, top: 8, bottom: 16 };

function makeChart(episode, canvas, series, seek) {
  const { numStates, numWorkers, numSteps } = episode;
  let low = 0, high = 0;
  for (const value of series) { low = Math.min(low, value); high = Math.max(high, value); }
  if (high === low) high = low + 1;
  let bright = null, size = null, colors = null;

  const x = (state) => CHART_MARGIN.left + (state / numSteps) * (size.width - CHART_MARGIN.left - CHART_MARGIN.right);
  const y = (value) => CHART_MARGIN.top + (1 - (value - low) / (high - low)) * (size.height - CHART_MARGIN.top - CHART_MARGIN.bottom);

  // The lines of the whole episode are drawn once for each size, theme and selection.
  function prepare(newColors, selected) {
    colors = newColors;
    size = sizeOf(canvas);
    bright = document.createElement("canvas");
    const { context } = fit(bright, size.width, size.height);
    context.lineWidth = numWorkers > 12 ? 1 : 1.6;
    context.lineJoin = "round";
    const order = [...Array(numWorkers).keys()].sort((a, b) => (a === selected) - (b === selected));
    for (const worker of order) {
      context.globalAlpha = selected >= 0 && worker !== selected ? 0.18 : 1;
      context.strokeStyle = colors.workers[worker];
      context.beginPath();
      for (let state = 0; state < numStates; state++) context.lineTo(x(state), y(episode.value(series, state, worker)));
      context.stroke();
    }
  }

  function draw(time, selected) {
    const { context, width, height } = fit(canvas);
    drawAxes(context, width, height);
    const now = x(time);
    context.globalAlpha = 0.22;
    context.drawImage(bright, 0, 0, width, height);
    context.globalAlpha = 1;
    context.save();
    context.beginPath();
    context.rect(0, 0, now, height);
    context.clip();
    context.drawImage(bright, 0, 0, width, height);
    context.restore();
    context.fillStyle = colors.muted;
    context.fillRect(now - 0.5, CHART_MARGIN.top - 4, 1, height - CHART_MARGIN.top - CHART_MARGIN.bottom + 4);
    drawHeads(context, time, now, selected);
  }

  function drawAxes(context, width, height) {
    for (const value of ticks(low, high, 3)) {
      context.fillStyle = colors.faint;
      context.fillRect(CHART_MARGIN.left, Math.round(y(value)), width - CHART_MARGIN.left - CHART_MARGIN.right, 1);
      write(context, COMPACT.format(value), CHART_MARGIN.left - 6, y(value), { color: colors.muted, align: "right", base: "middle" });
    }
    for (const state of ticks(0, numSteps, 5)) {
      write(context, WHOLE.format(state), x(state), height - 3, { color: colors.muted, align: "center" });
    }
  }

  // Each worker's dot at the end of its line, numbered where there is room.
  function drawHeads(context, time, now, selected) {
    const state = Math.floor(time), next = Math.min(state + 1, numSteps), part = time - state;
    const heads = [...Array(numWorkers).keys()].map((worker) => {
      const [a, b] = [episode.value(series, state, worker), episode.value(series, next, worker)];
      return { worker, at: y(a + (b - a) * part) };
    });
    const labelled = numWorkers <= 10;
    heads.sort((a, b) => a.at - b.at);
    // Labels of close lines stand below each other, and none leaves the chart.
    const spacing = 10, places = heads.map((head) => head.at);
    for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + spacing);
    let floor = size.height - CHART_MARGIN.bottom + 2;
    for (let i = places.length - 1; i >= 0; i--) { places[i] = Math.min(places[i], floor); floor = places[i] - spacing; }
    for (const [i, head] of heads.entries()) {
      context.globalAlpha = selected >= 0 && head.worker !== selected ? 0.3 : 1;
      context.fillStyle = colors.workers[head.worker];
      context.beginPath();
      context.arc(now, head.at, 3, 0, 2 * Math.PI);
      context.fill();
      if (labelled) {
        write(context, String(head.worker), now + 7, places[i], { color: colors.workers[head.worker], weight: 700, base: "middle" });
      }
    }
    context.globalAlpha = 1;
  }

  function seekTo(event) {
    const box = sizeOf(canvas);
    const share = (event.clientX - box.left - CHART_MARGIN.left) / (box.width - CHART_MARGIN.left - CHART_MARGIN.right);
    seek(Math.round(Math.min(1, Math.max(0, share)) * numSteps));
  }
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); seekTo(event); });
  canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) seekTo(event); });

  return { prepare, draw };
}

function makeCharts(episode, container, seek) {
  const charts = [
    ["Coin", "with what is in escrow", episode.coin],
    ["Labor", "spent since the start", episode.labor],
    ["Income", "of the tax year so far, in coin", episode.income],
  ].map(([title, about, series]) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas"), detail = document.createElement("span");
    detail.textContent = ` ${about}`;
    caption.append(title, detail);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title} of each worker over the episode, ${about}`);
    figure.append(caption, canvas);
    container.append(figure);
    return makeChart(episode, canvas, series, seek);
  });
  return {
    prepare: (colors, selected) => charts.forEach((chart) => chart.prepare(colors, selected)),
    draw: (time, selected) => charts.forEach((chart) => chart.draw(time, selected)),
  };
}
