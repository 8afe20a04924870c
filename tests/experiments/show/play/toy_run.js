"use strict";
// Writes one run of the toy into the page, as JSON: pools, doubts of the learner, accuracies; and the gain over seeds.
{
  const SEED = 1, CANDIDATES = slider("candidates"), SEEDS = 30, SHOWN = [24, 72], GRID = 24;
  const rows = [];
  const put = (arm, samples, what, x, y, value) => rows.push([arm, samples, what, x, y, Number(value.toFixed(3))]);
  const note = (name, arm, samples) => {
    arm.pool.slice(0, samples).forEach(({ point, label }, index) => {
      const fresh = arm.candidates && index >= samples - ROUND;
      put(name, samples, fresh ? "new" : "old", ...point.map((each) => Number(each.toFixed(4))), label);
    });
    for (let i = 0; i <= GRID; i++) {
      for (let j = 0; j <= GRID; j++) {
        const point = [i, j].map((k) => Number(((2 * k / GRID - 1) * EXTENT).toFixed(4)));
        put(name, samples, "probability", ...point, arm.learner.probability(arm.learner.features(point)));
      }
    }
    put(name, samples, "accuracy", 0, 0, arm.accuracy(arm.test));
  };
  const practice = new ToyArm(SEED, CANDIDATES), plain = new ToyArm(SEED, 0);
  while (practice.steps < STEPS) {
    const before = practice.pool.length; // an addition leaves the learner as it was
    practice.advance();
    if (practice.pool.length > before && SHOWN.includes(before)) note("practice", practice, before);
  }
  note("practice", practice, practice.pool.length);
  while (plain.steps < STEPS) plain.advance();
  note("static", plain, plain.pool.length);
  for (let k = 0; k <= 104; k++) {
    const x = Number(((2 * k / 104 - 1) * EXTENT).toFixed(4));
    put("", 0, "boundary", x, Number(boundary(x).toFixed(4)), 0);
  }
  const { mean, se } = overSeeds(SEEDS, CANDIDATES);
  put("", SEEDS, "gain", 0, 0, 100 * mean);
  put("", SEEDS, "gain_se", 0, 0, 100 * se);
  document.documentElement.dataset.run = JSON.stringify(rows);
}
