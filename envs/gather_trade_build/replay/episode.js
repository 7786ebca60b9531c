// The episode: typed arrays out of the page's data block, and what the world looks like in a state.

const KEYFRAME_INTERVAL = 64; // states; between two keyframes events are applied one by one

const ARRAY_TYPES = {
  uint8: Uint8Array, int8: Int8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array,
};

function readArrays(contents, base64) {
  const text = atob(base64.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const arrays = {};
  for (const [name, [type, shape, offset]] of Object.entries(contents)) {
    const size = shape.reduce((product, length) => product * length, 1);
    arrays[name] = new ARRAY_TYPES[type](bytes.buffer, offset, size);
  }
  return arrays;
}

// Index of the first entry of an ascending array that is at least `value`.
function firstAtLeast(array, value) {
  let low = 0, high = array.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (array[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

// A grid that changes by events: `at(state)` gives it as it is in that state.
function makeEventGrid(first, steps, places, values, numStates) {
  const keyframes = [];
  const grid = first.slice();
  let event = 0;
  for (let state = 0; state < numStates; state++) {
    for (; event < steps.length && steps[event] === state; event++) grid[places[event]] = values[event];
    if (state % KEYFRAME_INTERVAL === 0) keyframes.push(grid.slice());
  }
  let current = grid, currentState = numStates - 1;
  return function at(state) {
    if (state === currentState) return current;
    const key = Math.floor(state / KEYFRAME_INTERVAL);
    let from = key * KEYFRAME_INTERVAL;
    if (currentState < state && currentState >= from) from = currentState;
    else current.set(keyframes[key]);
    const end = firstAtLeast(steps, state + 1);
    for (let i = firstAtLeast(steps, from + 1); i < end; i++) current[places[i]] = values[i];
    currentState = state;
    return current;
  };
}

function makeEpisode(data, base64) {
  const arrays = readArrays(data.arrays, base64);
  const { numSteps, height, width } = data;
  const numStates = numSteps + 1, numWorkers = data.workers.length, numResources = data.resources.length;
  const numBrackets = arrays.cutoffs.length;

  const resourcesAt = makeEventGrid(
    arrays.firstResources, arrays.resourceStep, arrays.resourcePlace, arrays.resourceAmount, numStates);
  const ownersAt = makeEventGrid(
    new Int16Array(height * width).fill(-1), arrays.houseStep, arrays.houseCell, arrays.houseOwner, numStates);

  // Houses of each worker, state by state: they are only ever built.
  const houses = new Int32Array(numStates * numWorkers);
  for (let i = 0; i < arrays.houseStep.length; i++) {
    if (arrays.houseOwner[i] >= 0) houses[arrays.houseStep[i] * numWorkers + arrays.houseOwner[i]]++;
  }
  for (let i = numWorkers; i < houses.length; i++) houses[i] += houses[i - numWorkers];

  // Open orders of each state, as indices into the order arrays.
  const open = Array.from({ length: numStates }, () => []);
  for (let i = 0; i < arrays.orderFrom.length; i++) {
    for (let state = arrays.orderFrom[i]; state < arrays.orderUntil[i]; state++) open[state].push(i);
  }

  const years = makeYears(arrays, numSteps, numWorkers, numBrackets);
  return {
    ...arrays, ...data, arrays: undefined, numStates, numWorkers, numResources, numBrackets, houses, years,
    resourcesAt, ownersAt,
    openOrders: (state) => open[state],
    value: (series, state, worker) => series[state * numWorkers + worker],
    // Marginal rates in force, as a view of numBrackets numbers.
    ratesAt(state) {
      const change = firstAtLeast(arrays.rateStep, state + 1) - 1;
      return arrays.rates.subarray(change * numBrackets, (change + 1) * numBrackets);
    },
    yearOf: (state) => Math.min(firstAtLeast(arrays.yearStep, state), years.length - 1),
    // Events of one kind that happened in the states `from <= s <= to`, as a pair of indices.
    eventsBetween: (steps, from, to) => [firstAtLeast(steps, from), firstAtLeast(steps, to + 1)],
  };
}

// Tax years with their first and last state; the last one may not have been closed.
function makeYears(arrays, numSteps, numWorkers, numBrackets) {
  const years = [];
  let first = 1;
  for (let y = 0; y < arrays.yearStep.length; y++) {
    years.push({
      first, last: arrays.yearStep[y], closed: true,
      rates: arrays.yearRates.subarray(y * numBrackets, (y + 1) * numBrackets),
      income: arrays.yearIncome.subarray(y * numWorkers, (y + 1) * numWorkers),
      paid: arrays.yearPaid.subarray(y * numWorkers, (y + 1) * numWorkers),
      lumpSum: arrays.yearLumpSum[y],
    });
    first = arrays.yearStep[y] + 1;
  }
  if (first <= numSteps || years.length === 0) {
    const change = arrays.rateStep.length - 1;
    years.push({
      first, last: numSteps, closed: false,
      rates: arrays.rates.subarray(change * numBrackets, (change + 1) * numBrackets),
    });
  }
  return years;
}
