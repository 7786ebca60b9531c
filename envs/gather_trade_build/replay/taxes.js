// Taxes: the schedule in force with the workers' incomes on it, and the schedules of all years.

const PERCENT = new Intl.NumberFormat("en-US", { style: "percent", maximumFractionDigits: 1 });

function makeTaxes(episode, canvas, list, seek) {
  const { numBrackets, cutoffs } = episode;
  const highest = Math.max(...episode.rates, ...episode.yearRates, 0.4);
  const buttons = episode.years.map((year, index) => {
    const button = document.createElement("button"), bars = document.createElement("canvas");
    button.type = "button";
    button.append(bars, String(index + 1));
    button.setAttribute("aria-label", `Year ${index + 1}, steps ${year.first} to ${year.last}: rates ${[...year.rates].map(PERCENT.format).join(", ")}`);
    button.addEventListener("click", () => seek(Math.min(year.first, episode.numSteps)));
    list.append(button);
    return { button, bars };
  });

  // The year strip changes with the theme only.
  function prepare(colors) {
    buttons.forEach(({ bars }, index) => {
      const { context, width, height } = fit(bars);
      const column = width / numBrackets;
      episode.years[index].rates.forEach((rate, bracket) => {
        const tall = Math.max(1, (rate / highest) * height);
        context.fillStyle = colors.muted;
        context.fillRect(bracket * column, height - tall, Math.max(1, column - 1), tall);
      });
    });
  }

  function draw(state, colors, selected) {
    const current = state === 0 ? 0 : episode.yearOf(state);
    buttons.forEach(({ button }, index) => {
      if (index === current) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    });
    const { context, width, height } = fit(canvas);
    const top = 18, bottom = height - 34, column = width / numBrackets;
    const rates = episode.ratesAt(state);
    for (let bracket = 0; bracket < numBrackets; bracket++) {
      const x = bracket * column, tall = Math.max(1.5, (rates[bracket] / highest) * (bottom - top));
      context.fillStyle = colors.bar;
      context.beginPath();
      context.roundRect(x + 1, bottom - tall, column - 2, tall, [3, 3, 0, 0]);
      context.fill();
      write(context, PERCENT.format(rates[bracket]), x + column / 2, bottom - tall - 5, { color: colors.ink, size: 11, weight: 600, align: "center" });
      write(context, WHOLE.format(cutoffs[bracket]), x + 1, height - 3, { color: colors.muted });
    }
    context.fillStyle = colors.muted;
    context.fillRect(0, bottom, width, 1);
    drawIncomes(context, state, colors, selected, column, bottom);
    canvas.setAttribute("aria-label", `Marginal rates in force by bracket: ${[...rates].map((rate, b) => `from ${WHOLE.format(cutoffs[b])} coin ${PERCENT.format(rate)}`).join(", ")}`);
  }

  // Each worker's income of the year so far, placed within its bracket.
  function drawIncomes(context, state, colors, selected, column, bottom) {
    const placed = [];
    for (let worker = 0; worker < episode.numWorkers; worker++) {
      const x = incomePlace(episode.value(episode.income, state, worker)) * column;
      const crowd = placed.filter((other) => Math.abs(other - x) < 13).length;
      placed.push(x);
      context.globalAlpha = selected >= 0 && worker !== selected ? 0.3 : 1;
      drawWorker(context, Math.max(8, x), bottom + 10 - Math.min(crowd, 6) * 5, 6.5, colors.workers[worker], String(worker), colors.panel);
    }
    context.globalAlpha = 1;
  }

  // Brackets are drawn equally wide; the open one ends at twice its cutoff.
  function incomePlace(income) {
    let bracket = 0;
    while (bracket + 1 < numBrackets && income >= cutoffs[bracket + 1]) bracket++;
    const end = bracket + 1 < numBrackets ? cutoffs[bracket + 1] : 2 * cutoffs[bracket];
    return bracket + Math.min(0.97, Math.max(0, (income - cutoffs[bracket]) / (end - cutoffs[bracket])));
  }

  return { prepare, draw };
}
