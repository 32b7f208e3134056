// What closed_form.py computes at the start values, computed again in the page wherever the sliders are moved.

// Log-probabilities and log-densities (in nats), mean, variance and highest places of the named distributions.
function distributions() {
  const halfLog2Pi = Math.log(2 * Math.PI) / 2;
  // log Γ(x) = (x − ½) log x − x + ½ log 2π + stirling(x). What is left over is small: differences keep their digits.
  const stirling = (x) => {
    let below = 0;
    for (; x < 15; x++) below += (x + 0.5) * Math.log1p(1 / x) - 1;
    const y = 1 / (x * x);
    return below + (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x;
  };
  const logFactorial = (k) => (k ? (k + 0.5) * Math.log(k) - k + halfLog2Pi + stirling(k) : 0);
  const whole = (t) => (t >= 1 && t === Math.floor(t) ? [t - 1, t] : [Math.max(0, Math.floor(t))]);
  const normal = {
    log: (x, { mu, sigma }) => -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - halfLog2Pi,
    moments: ({ mu, sigma }) => [mu, sigma * sigma],
    peaks: ({ mu }) => [mu],
  };
  // z ~ N(0, 1) and x ~ N(z, noise²): the posterior of z, and any normal q(z) beside it.
  const posterior = ({ noise, observed }) => ({ mu: observed / (1 + noise ** 2), sigma: noise / Math.sqrt(1 + noise ** 2) });
  const exact = {
    log: (z, values) => normal.log(z, posterior(values)),
    moments: (values) => normal.moments(posterior(values)),
    peaks: (values) => [posterior(values).mu],
    facts: ({ noise, observed }) => {
      const { mu, sigma } = posterior({ noise, observed });
      return { mean: mu, variance: sigma ** 2, "log P(x)": normal.log(observed, { mu: 0, sigma: Math.sqrt(1 + noise ** 2) }) };
    },
  };
  const divergence = (one, other) => {
    const ratio = (one.sigma / other.sigma) ** 2;
    return (ratio - 1 - Math.log(ratio) + ((one.mu - other.mu) / other.sigma) ** 2) / 2;
  };
  const approximate = {
    log: (z, { mu, sigma_z: sigma }) => normal.log(z, { mu, sigma }),
    moments: ({ mu, sigma_z: sigma }) => normal.moments({ mu, sigma }),
    peaks: ({ mu }) => [mu],
    facts: ({ mu, sigma_z: sigma, noise, observed }) => {
      const reconstruction = normal.log(observed, { mu, sigma: noise }) - (sigma / noise) ** 2 / 2;
      const KL = divergence({ mu, sigma }, { mu: 0, sigma: 1 });
      const gap = divergence({ mu, sigma }, posterior({ noise, observed }));
      return { reconstruction, KL, ELBO: reconstruction - KL, gap: gap > 1e-9 ? gap : 0 };
    },
  };
  const gamma = {
    log: (x, { mu, theta }) => {
      if (x <= 0) return -Infinity;
      const t = (x - mu) / mu;
      return theta * ((t > -0.5 ? Math.log1p(t) : Math.log(x / mu)) - t) - Math.log(x) + Math.log(theta) / 2 - halfLog2Pi - stirling(theta);
    },
    moments: ({ mu, theta }) => [mu, (mu * mu) / theta],
    peaks: ({ mu, theta }) => [theta > 1 ? (mu * (theta - 1)) / theta : 0],
  };
  const poisson = {
    log: (k, { mu }) => k * Math.log(mu) - mu - logFactorial(k),
    moments: ({ mu }) => [mu, mu],
    peaks: ({ mu }) => whole(mu),
  };
  const nb = {
    // log Γ(k + θ) − log Γ(θ) − k log θ, which goes to 0 as θ grows, then the rest.
    log: (k, { mu, theta }) =>
      (k + theta - 0.5) * Math.log1p(k / theta) - k + stirling(k + theta) - stirling(theta) -
      logFactorial(k) + k * Math.log(mu) - (k + theta) * Math.log1p(mu / theta),
    moments: ({ mu, theta }) => [mu, mu + (mu * mu) / theta],
    peaks: ({ mu, theta }) => whole((mu * (theta - 1)) / theta),
  };
  const zinb = {
    log: (k, { pi, ...rest }) => {
      const log = nb.log(k, rest);
      if (k || !pi) return Math.log1p(-pi) + log;
      return log < -1 ? Math.log(pi + (1 - pi) * Math.exp(log)) : Math.log1p((1 - pi) * Math.expm1(log));
    },
    moments: ({ mu, theta, pi }) => [(1 - pi) * mu, (1 - pi) * (mu + (mu * mu) / theta + pi * mu * mu)],
    peaks: (values) => {
      const others = nb.peaks(values);
      const zero = values.pi > 0 && zinb.log(0, values) >= zinb.log(others[others.length - 1], values);
      return zero ? [0] : others;
    },
  };
  return { normal, posterior: exact, "approximate posterior": approximate, gamma, Poisson: poisson, "negative binomial": nb, "zero-inflated negative binomial": zinb };
}

// Three significant digits, as closed_form.py writes them; a tie goes up on every machine.
function digits(value) {
  const [mantissa, power] = (value * (1 + 1e-12)).toExponential(2).split("e");
  if (power > -5 && power < 6) {
    return (+`${mantissa}e${power}`).toFixed(Math.max(0, 2 - power)).replace("-", "−");
  }
  const raised = [...String(+power)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
  return `${mantissa.replace("-", "−")} × 10${raised}`;
}

// The least of 1, 2, 5, 10, 20, 50, … times a power of ten that is not below a value.
function step(value) {
  for (let power = -12; ; power++) {
    for (const mantissa of [1, 2, 5]) {
      const found = +`${mantissa}e${power}`;
      if (found >= value * (1 - 1e-9)) return found;
    }
  }
}

// drawn: one or two distributions; sliders: the name and the values of each; low, high: range of the x axis; least:
// height that the y axis has at least; plot: left, right, upper and lower edge; points: how many a curve has.
function closedForm(id, { drawn, sliders, low, high, least, plot, points }) {
  const [left, right, top, bottom] = plot;
  const known = distributions();
  const coordinate = (value) => +(value + 1e-7).toFixed(1);
  const across = (x) => coordinate(left + ((right - left) * (x - low)) / (high - low));

  const compute = (one, moved) => {
    const values = { ...one.fixed };
    for (const key of one.moved) values[key] = moved[key];
    const xs = [];
    if (one.counts) for (let k = Math.max(0, Math.ceil(low)); k <= high; k++) xs.push(k);
    else for (let i = 0; i < points; i++) xs.push(low + ((i + 0.5) * (high - low)) / points);
    const { log, moments, peaks, facts } = known[one.kind];
    const value = (x) => Math.exp(log(x, values));
    const ys = xs.map(value);
    return { ...one, values, xs, ys, zero: value(0), moments: moments(values), peaks: peaks(values), own: facts && facts(values) };
  };

  const path = ({ shape, xs, ys }, height) =>
    xs.map((x, i) => {
      const y = coordinate(bottom - ((bottom - top) * ys[i]) / height);
      if (shape === "dots") return `M${across(x)},${y}h0`;
      if (shape !== "bars") return `${i ? "L" : "M"}${across(x)},${y}`;
      return y === bottom ? "" : `M${across(x - 0.4)},${bottom}V${y}H${across(x + 0.4)}V${bottom}`;
    }).join("");

  const sentence = ({ kind, counts, told, same, values, ys, zero, moments, peaks, own }) => {
    const given = told.map(([key, symbol]) => `${symbol} = ${digits(values[key])}`).join(", ");
    const [mean, variance] = moments.map(digits);
    const places = peaks.map(counts ? String : digits).join(" and ");
    let facts = [`mean ${mean}`, `variance ${variance}`, `${counts ? "most probable" : "highest at"} ${places}`];
    if (own) facts = Object.entries(own).map(([words, value]) => `${words} ${digits(value)}`);
    let outside = "";
    if (counts) {
      const beyond = 1 - ys.reduce((sum, y) => sum + y, 0);
      facts.push(zero < 1e-4 ? "P(0) below 0.0001" : `P(0) = ${digits(zero)}`);
      if (beyond >= 0.005) outside = ` ${digits(100 * beyond)} % lie beyond the picture.`;
    }
    return `${kind}${given && ` with ${given}`}${same}: ${facts.join(", ")}.${outside}`;
  };

  for (const figure of document.querySelectorAll(`[id="${id}"]:not([data-ready])`)) {
    figure.dataset.ready = "";
    const still = figure.querySelector("img");
    const source = decodeURIComponent(still.src.slice(still.src.indexOf(",") + 1));
    const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
    const picture = document.importNode(parsed.documentElement, true);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", still.alt);
    picture.setAttribute("style", "display:block;width:100%;height:auto;font-family:inherit");
    still.replaceWith(picture);
    const all = (what) => [...figure.querySelectorAll(what)];
    const [inputs, outputs, lines] = ["input", "output", "[data-line]"].map(all);
    const [paths, ticks] = ["[data-law]", "[data-share]"].map(all);
    const status = figure.querySelector("[aria-live=polite]");
    let timer;

    const update = () => {
      const moved = {};
      sliders.forEach(({ key, values }, i) => {
        moved[key] = values[inputs[i].value];
        outputs[i].textContent = digits(moved[key]);
        inputs[i].setAttribute("aria-valuetext", digits(moved[key]));
      });
      const now = drawn.map((one) => compute(one, moved));
      const peak = Math.max(...now.flatMap(({ ys }) => ys));
      const height = peak <= least ? least : step(peak);
      const words = now.map((one, i) => {
        paths[i].setAttribute("d", path(one, height));
        lines[i].textContent = sentence(one);
        return `${one.shape[0].toUpperCase()}${one.shape.slice(1)}: ${lines[i].textContent}`;
      }).join(" ");
      for (const tick of ticks) tick.textContent = +(height * tick.dataset.share).toPrecision(6);
      picture.setAttribute("aria-label", words);
      clearTimeout(timer);
      timer = setTimeout(() => { status.textContent = words; }, 400);
    };
    for (const input of inputs) input.addEventListener("input", update);
    figure.querySelector("[hidden]").hidden = false;
  }
}
