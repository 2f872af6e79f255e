# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 03 · The expectation of depth selectivity
#
# A depth network has units. Some of them may answer to one range of depth and be silent elsewhere. You et al.
# ([you2021](https://arxiv.org/abs/2108.05312)) give every unit a number for that, its **depth selectivity** DS: 0
# for a unit that answers to all depths alike, 1 for a unit that answers to one range only. A unit has DS = 0.4. Is
# that much?
#
# Nobody can say without a second number: the DS of a unit that knows nothing. The supplement of the paper derives
# it in Section 1, Eq 1 to 6. If the responses are "totally randomized",
#
# $$\mathbb{E}[DS] = \tfrac{1}{3}.$$
#
# **The question.** Is it 1/3? And is that the number with which a real unit should be compared?
#
# The first part is mathematics, and we do every step three times: by algebra, by numerical integration, and by
# throwing dice. The second part asks a trained network.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import numpy as np
import pandas as pd
import sympy as sp
import torch
from scipy.integrate import quad

from mdelib import course, evaluation, figures, models, papers
from mdelib.exercises import check
from mdelib.selectivity import (RESPONSE_LAWS, BinPooling, ResponseMeter, bin_labels, depth_bin_edges,
                                depth_selectivity, expected_selectivity, expected_selectivity_series,
                                response_table, simulate_selectivity)
from mdelib.selectivity.expectation import draw_responses, series_coefficients
from mdelib.widgets import explore

lesson = course.start("03", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## One unit
#
# We take a trained network, Hu et al.'s CNN from notebook 02, and two of its layers that the paper dissects: the
# decoder D and the fusion MFF. Depth is cut into 16 bins that grow with distance, from the first to the last
# percentile of the true depths.

# %%
LAYERS = {"decoder": "decoder (D)", "mff": "fusion (MFF)"}
network = (lesson.network("two_networks", "cnn") if lesson.info.real
           else models.create_model("hu_resnet50", weights="rooms_cnn").to(lesson.device))
views = lesson.views("test")
near, far = np.quantile(views.depth[views.mask], (0.01, 0.99))
edges = depth_bin_edges(16, float(near), float(far))
labels = bin_labels(views.depth, edges, views.mask)

# %%
def features_of(network):
    """The maps of both layers for all views, (views, units, h, w) each."""
    kept = {name: [] for name in LAYERS}
    hooks = [network.get_submodule(name).register_forward_hook(
        lambda _module, _inputs, maps, name=name: kept[name].append(maps.cpu())) for name in LAYERS]
    for start in range(0, len(views), 20):
        evaluation.predict(network, views.image[start:start + 20])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(maps) for name, maps in kept.items()}


features = features_of(network)

# %% [markdown]
# The **response** $R_{k,d}$ of unit $k$ to bin $d$ is its mean activation over all pixels of all views whose true
# depth lies in $d$. We keep the labels (the bin of every pixel) apart from the features on purpose. Later we will
# change the labels and leave the features alone.

# %%
def tables_of(features, labels):
    """Responses (units, bins) of both layers."""
    meters = {name: ResponseMeter(edges) for name in features}
    for start in range(0, len(labels), 20):
        part = slice(start, start + 20)
        bins = BinPooling(labels[part], len(edges) - 1)
        for name, maps in features.items():
            meters[name].add(maps[part], bins)
    return {name: meter.compute("nan") for name, meter in meters.items()}


tables = tables_of(features, labels)
library = response_table(network, list(LAYERS), views, edges, empty="nan")
assert all(torch.allclose(tables[name], library[name], rtol=1e-4, equal_nan=True) for name in LAYERS)

# %%
unit = int(depth_selectivity(tables["mff"]).argsort()[tables["mff"].shape[0] // 2])
example = int(torch.stack([(labels == d).flatten(1).sum(1) > 50 for d in range(16)]).sum(0).argmax())  # many depths
figure, axes = figures.new_figure(1, 4, height=2.2, width_ratios=[1, 1, 1, 1.35])
figures.show_image(axes[0], views.image[example], "a view")
figures.show_depth(axes[1], views.depth[example], "true depth", limits=(near, far), mask=views.mask[example])
axes[2].imshow(features["mff"][example, unit], cmap="magma")
axes[2].set(xticks=[], yticks=[], title=f"unit {unit} of MFF")
axes[3].bar(range(16), tables["mff"][unit].abs(), color=figures.COLOURS[0])
axes[3].set(xlabel="depth bin (near to far)", ylabel="response", title="its responses, all views")
lesson.figure(figure, "one_unit", "One unit of the fusion layer: the one whose selectivity is the middle one. Near "
              "is bright in the depth map; in the unit's map bright is active.",
              alt="A view, its depth, the activation map of a unit, and bars of its response for 16 depth bins.")

# %% [markdown]
# ## Depth selectivity in four lines
#
# Take the largest response, and the mean of all the others. Their contrast is the selectivity:
#
# $$DS_k = \frac{|R_k^{max}| - |\bar R_k^{-max}|}{|R_k^{max}| + |\bar R_k^{-max}|}$$

# %%
def my_depth_selectivity(response):
    size = response[:, ~response.isnan().all(0)].abs()  # a bin without pixels does not count
    largest = size.max(1).values
    others = (size.sum(1) - largest) / (size.shape[1] - 1)
    return (largest - others) / (largest + others)


real = {name: depth_selectivity(table) for name, table in tables.items()}
assert torch.allclose(my_depth_selectivity(tables["mff"]), real["mff"])
lesson.say(f"The unit above has DS = **{real['mff'][unit]:.3f}**. On average the units of D have "
           f"{real['decoder'].mean():.3f} and those of MFF {real['mff'].mean():.3f}.")

# %% [markdown]
# ## A unit that answers at random
#
# The paper's random unit draws its response in every bin from the numbers between 0 and $b$, all equally likely,
# and each bin for itself. Here are three of them, and the selectivity of very many.

# %%
generator = torch.Generator().manual_seed(lesson.seed)
trials = lesson.pick(smoke=2_000, lab=40_000)
figure, axes = figures.new_figure(1, 4, height=2.3, width_ratios=[1, 1, 1, 2])
for axis, response in zip(axes, draw_responses(16, 3, generator=generator)):
    axis.bar(range(16), response, color="0.6")
    axis.set(title=f"DS = {depth_selectivity(response[None]).item():.2f}", xlabel="bin", yticks=[], ylim=(0, 1))
for index, bins in enumerate((2, 8, 64)):
    drawn = depth_selectivity(draw_responses(bins, trials, generator=generator))
    axes[3].hist(drawn, np.linspace(0, 1, 61), density=True, histtype="step", lw=1.8, ls=("-", "--", "-.")[index],
                 color=figures.COLOURS[index], label=f"{bins} bins, mean {drawn.mean():.3f}")
axes[3].axvline(1 / 3, color="0.3", lw=1, ls=":")
axes[3].set(xlabel="selectivity of a random unit", yticks=[])
axes[3].legend()
lesson.figure(figure, "random_units", "Left: three random units. Right: many of them. Dotted: 1/3.",
              alt="Three bar charts of uniform responses and histograms of selectivity for 2, 8 and 64 bins.")

# %% [markdown]
# So "random" does not give 0. The largest of many numbers is large by chance alone, and DS looks for the largest.
# For 64 bins the histogram sits at 1/3. For two bins it is nowhere near a single value, and its mean is not 1/3.
#
# ## Eq 1 to 5, step by step
#
# A response is uniform on $[0, b]$, so $P(R \le x) = x/b$ (Eq 1). The largest of $N$ is below $x$ if all are, and
# for independent bins probabilities multiply (Eq 2). The derivative is its density (Eq 3), and its mean follows
# (Eq 4). The others are what is left of the sum (Eq 5). Let sympy do it.

# %% tags=["nbval-check-output"]
b, x, N = sp.Symbol("b", positive=True), sp.Symbol("x", positive=True), sp.Symbol("N", integer=True, positive=True)
eq1 = sp.integrate(1 / b, (sp.Symbol("r"), 0, x))
eq2 = eq1**N
eq3 = sp.simplify(sp.diff(eq2, x))
eq4 = sp.simplify(sp.integrate(x * eq3, (x, 0, b)))
eq5 = sp.factor(sp.simplify((N * b / 2 - eq4) / (N - 1)))
printed = (x / b, (x / b)**N, N * x**(N - 1) / b**N, b * N / (N + 1), b * N / (2 * (N + 1)))
for number, (ours, theirs) in enumerate(zip((eq1, eq2, eq3, eq4, eq5), printed, strict=True), start=1):
    print(f"Eq {number}: {sp.simplify(ours / theirs) == 1}   {ours}")

# %% [markdown]
# All five are as printed. Now without algebra: integrate numerically, and simulate. With $b = 1$.

# %%
def rows_of(bins):
    drawn = draw_responses(bins, trials, generator=generator).numpy()
    largest = drawn.max(1)
    others = (drawn.sum(1) - largest) / (bins - 1)
    mean = quad(lambda x: x * bins * x**(bins - 1), 0, 1)[0]
    rest = (bins * quad(lambda x: x, 0, 1)[0] - mean) / (bins - 1)
    x = 0.9 ** (1 / bins)  # where Eq 2 says 0.9
    return [("Eq 2: P(max ≤ x), x = 0.9^(1/N)", bins, x**bins, quad(lambda r: bins * r**(bins - 1), 0, x)[0],
             largest <= x),
            ("Eq 4: E[max]", bins, bins / (bins + 1), mean, largest),
            ("Eq 5: E[mean of the others]", bins, bins / (2 * (bins + 1)), rest, others)]


# %%
frame = pd.DataFrame([(what, str(n), f"{formula:.5f}", f"{integral:.5f}",
                       f"{values.mean():.5f} ± {values.std() / len(values)**0.5:.5f}")
                      for bins in (2, 16, 64, 256) for what, n, formula, integral, values in rows_of(bins)],
                     columns=["step", "bins", "as printed", "integrated", "simulated ± standard error"])
lesson.table(frame.sort_values("step", kind="stable"), "steps", "The steps of the derivation, three times.")

# %% [markdown]
# ## Eq 6: a ratio of means is not the mean of a ratio
#
# Now the last step. Eq 6 divides: $(\mathbb{E}[max] - \mathbb{E}[others]) / (\mathbb{E}[max] + \mathbb{E}[others])$.
# With Eq 4 and 5 that is exactly 1/3, for every $N$. But the left side of Eq 6 is the mean of the **ratio**.
#
# Divide everything by the largest response and write $u$ for the others' mean in that unit. Then
# $DS = f(u) = (1 - u)/(1 + u)$, and nothing else matters. Given the largest, the others are still independent and
# uniform, now between 0 and the largest. So $u$ is the mean of $N - 1$ uniform numbers on $[0, 1]$, its mean is
# 1/2, and $f(1/2) = 1/3$. Eq 6 says $f(\mathbb{E}[u])$ where $\mathbb{E}[f(u)]$ is meant.

# %% tags=["nbval-check-output"]
print("ratio of the means, for every N:", sp.simplify((eq4 - eq5) / (eq4 + eq5)))

# %%
u = np.linspace(0, 1, 300)
figure, axis = figures.new_figure(height=3.0)
axis.plot(u, (1 - u) / (1 + u), color="0.2", label="f(u) = (1 − u) / (1 + u)")
for index, bins in enumerate((3, 16)):
    drawn = torch.rand(trials, bins - 1, generator=generator, dtype=torch.float64).mean(1)
    heights, cuts = np.histogram(drawn, 60, (0, 1), density=True)
    axis.stairs(0.045 * heights, cuts, fill=True, alpha=0.45, color=figures.COLOURS[index],
                label=f"how often u occurs, {bins} bins")
    axis.axhline(expected_selectivity(bins), color=figures.COLOURS[index], ls="--", lw=1.2,
                 label=f"mean of f(u), {bins} bins: {expected_selectivity(bins):.4f}")

# %%
axis.plot(0.5, 1 / 3, "o", color="0.2")
axis.annotate("f(½) = ⅓", (0.5, 1 / 3), (8, 9), textcoords="offset points")
axis.set(xlabel="u: mean of the others, relative to the largest", ylabel="selectivity", ylim=(0, 1))
axis.legend(loc="upper right")
lesson.figure(figure, "jensen", "The curve is bent upwards. Small u gain more than large u lose, so the mean of f(u) "
              "lies above f of the mean. The wider u is spread, the more. The "
              "histograms have a scale of their own.",
              alt="A falling convex curve of selectivity against u with two histograms of u around one half.")

# %% [markdown]
# This is Jensen's inequality, and it gives the direction without a calculation: $\mathbb{E}[DS] > 1/3$ for **every**
# number of bins. How far above? There is an exact answer. Write the fraction as an integral,
# $\frac{1}{1+u} = \int_0^\infty e^{-t(1+u)}\,dt$, and take the mean inside. The mean of $e^{-tu}$ is a product of
# $n = N - 1$ equal factors, each $\int_0^1 e^{-tr/n}\,dr = (1 - e^{-t/n}) / (t/n)$. Since $f(u) = -1 + 2/(1+u)$,
#
# $$\mathbb{E}[DS] = -1 + 2 \int_0^\infty e^{-t} \left( \frac{1 - e^{-t/n}}{t/n} \right)^{\!n} dt, \qquad n = N - 1.$$

# %%
def my_expected_selectivity(bins):
    n = bins - 1
    integral, _ = quad(lambda t: np.exp(-t) * (-np.expm1(-t / n) * n / t)**n if t else 1.0, 0, np.inf, epsabs=1e-12)
    return -1 + 2 * integral


triangle = sp.integrate(4 * x / (1 + x), (x, 0, sp.Rational(1, 2)))  # three bins: the density of u is a triangle
triangle += sp.integrate(4 * (1 - x) / (1 + x), (x, sp.Rational(1, 2), 1))
closed = {2: -1 + 2 * sp.integrate(1 / (1 + x), (x, 0, 1)), 3: sp.logcombine(-1 + 2 * sp.simplify(triangle))}
for bins in (2, 3, 16, 64, 256, 4096):
    assert abs(my_expected_selectivity(bins) - expected_selectivity(bins)) < 1e-9
for bins, formula in closed.items():
    assert abs(float(formula) - expected_selectivity(bins)) < 1e-12

# %%
rows = []
for bins in (2, 3, 16, 64, 256):
    drawn = draw_responses(bins, trials, generator=generator)
    largest = drawn.max(1).values
    others = (drawn.sum(1) - largest) / (bins - 1)
    mean, error = simulate_selectivity(bins, trials, generator=generator)
    rows.append({"bins": str(bins), "Eq 6 as printed": f"{1 / 3:.5f}",
                 "ratio of means, simulated": f"{(largest - others).mean() / (largest + others).mean():.5f}",
                 "mean of the ratio, integrated": f"{my_expected_selectivity(bins):.5f}",
                 "mean of the ratio, simulated": f"{mean:.5f} ± {error:.5f}"})
lesson.table(pd.DataFrame(rows), "eq6", "Two things that Eq 6 calls by one name, and dice for both. ± standard error.")

# %% [markdown]
# Two bins give $2 \ln 2 - 1$ and three give $8 \ln \frac{32}{27} - 1$; algebra, integral and library agree. For many
# bins a series says more than the integral. Around its mean, $u = \frac12 + \delta$, and
#
# $$\frac{2}{1+u} = \frac43 \left( 1 - \tfrac23 \delta + \tfrac49 \delta^2 - \dots \right), \qquad
# \mathbb{E}[\delta] = 0, \quad \mathbb{E}[\delta^2] = \frac{1}{12 n}.$$
#
# So the first correction is $\frac43 \cdot \frac49 \cdot \frac1{12n} = \frac{4}{81\,n}$. Sympy finds the others from
# the higher moments of $u$.

# %% tags=["nbval-check-output"]
t, n = sp.symbols("t n", positive=True)
log_mean = sp.series(sp.log(sp.sinh(t / 2) / (t / 2)), t, 0, 7).removeO()  # of exp(t δ), one uniform number
moments = sp.series(sp.exp(sp.expand(n * log_mean.subs(t, t / n))), t, 0, 7).removeO()
terms = [sp.factorial(k) * moments.coeff(t, k) * sp.Rational(2, 3)**k for k in range(7)]  # E[δ^k] (2/3)^k
total = sp.expand(-1 + sp.Rational(4, 3) * sum(terms))
ours = [total.coeff(n, -power) for power in range(4)]
print("by sympy:  ", *ours)
print("by library:", *series_coefficients(3))

# %%
counts = np.array([2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256])
exact = np.array([expected_selectivity(int(bins)) for bins in counts])
simulated = np.array([simulate_selectivity(int(bins), trials, generator=generator) for bins in counts])
figure, (left, right) = figures.new_figure(1, 2, height=3.2)
left.axhline(1 / 3, color="0.4", ls=":", label="1/3 (Eq 6)")
left.plot(counts, exact, color=figures.COLOURS[0], label="exact")
left.plot(counts, [expected_selectivity_series(int(k), 1) for k in counts], "--", color=figures.COLOURS[2],
          label="1/3 + 4 / 81(N − 1)")
left.errorbar(counts, simulated[:, 0], 1.96 * simulated[:, 1], fmt="o", ms=4, color=figures.COLOURS[1],
              capsize=2, label="simulated, 95 %")
left.set(xscale="log", xlabel="bins N", ylabel="expected selectivity")
for order in range(4):
    gap = [abs(expected_selectivity_series(int(k), order) - e) for k, e in zip(counts, exact, strict=True)]
    right.plot(counts, gap, "os^D"[order] + "-", ms=4, color=figures.COLOURS[order],
               label=("1/3 alone", "+ 1 term", "+ 2 terms", "+ 3 terms")[order])

# %%
right.set(xscale="log", yscale="log", xlabel="bins N", ylabel="error of the series")
for axis in (left, right):
    axis.set_xticks([2, 4, 8, 16, 32, 64, 128, 256], ["2", "4", "8", "16", "32", "64", "128", "256"])
    axis.minorticks_off()
    axis.legend()
lesson.figure(figure, "exact", "Left: the expectation of selectivity for the paper's random unit. Right: how far the "
              "series is from it; each term adds a power of N − 1.",
              alt="Left: a curve that falls to one third, with simulated dots on it. Right: four falling error lines.")
score = (simulated[:, 0] - exact) / simulated[:, 1]
lesson.say(f"At **2 bins** the expectation is {exact[0]:.4f}, at **16** {expected_selectivity(16):.4f}, at **64** "
           f"{expected_selectivity(64):.4f}. Largest distance of simulation and integral over {len(counts)} numbers "
           f"of bins: {abs(score).max():.1f} standard errors.")

# %% [markdown]
# The authors' code uses 64 bins, and 32 for BTS. There the slip in Eq 6 costs next to nothing. These are the verdicts
# on the derivation. They are computed, not typed.

# %% tags=["nbval-check-output"]
rows = []
for claim in papers.load_claims("you2021"):
    if claim.identity:
        state, values = papers.check_analytic(claim)
        gap = values.set_index("N")["difference"]
        rows.append({"claim": claim.place, "states": claim.states,
                     "off at 2 bins": f"{gap[2]:.4f}", "off at 64 bins": f"{gap[64]:.4f}",
                     "verdict": f"{state} N → ∞" if state == "holds only if" else state})
lesson.table(pd.DataFrame(rows), "derivation", "The derivation of you2021, supplement, Section 1.")

# %% [markdown]
# ## Another law, another number
#
# So far we believed that responses are uniform on $[0, b]$. The upper end $b$ drops out. The rest does not: why
# should a mean activation be uniform, and why should the range begin at 0? Other laws are as "random". With the
# same reasoning as above (fix the largest, the others follow the law cut off there) each has its expectation.

# %%
figure, axis = figures.new_figure(height=3.1)
for index, (law, about) in enumerate(RESPONSE_LAWS.items()):
    axis.plot(counts, [expected_selectivity(int(k), law) for k in counts], color=figures.COLOURS[index])
    means = np.array([simulate_selectivity(int(k), trials // 4, law, generator=generator) for k in counts[::2]])
    axis.errorbar(counts[::2], means[:, 0], 1.96 * means[:, 1], fmt="os^Dv"[index], ms=5, capsize=2,
                  color=figures.COLOURS[index], label=about.title)
axis.axhline(1 / 3, color="0.4", ls=":")
axis.set(xscale="log", xlabel="bins N", ylabel="expected selectivity", ylim=(0, 0.9))
axis.set_xticks([2, 4, 8, 16, 32, 64, 128, 256], ["2", "4", "8", "16", "32", "64", "128", "256"])
axis.minorticks_off()
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="response in each bin")
lesson.figure(figure, "laws", "Independent random responses of five laws. Lines: integrated. Marks: simulated, 95 %.",
              alt="Five curves of expected selectivity against bins; only the uniform law goes to one third.")

# %%
at64 = {law: expected_selectivity(64, law) for law in RESPONSE_LAWS}
lesson.say(f"""With 64 bins a random unit has **{at64['shifted_normal']:.3f}** if its responses scatter by a tenth
around a mean, **{at64['uniform']:.3f}** if they are uniform, **{at64['half_normal']:.3f}** if half-normal,
**{at64['exponential']:.3f}** if exponential and **{at64['lognormal']:.3f}** if lognormal. And for laws without an
upper end the number does not settle: the more bins, the larger the largest. The step from $N = 2$ to
$N = \\infty$ moved the uniform law by {expected_selectivity(2) - 1 / 3:.3f}; the law moves it by
{max(at64.values()) - min(at64.values()):.2f}.""")

# %% [markdown]
# ## Neighbours that agree
#
# The second assumption is independence. But a unit that likes 2 m will hardly hate 2.1 m: responses are smooth
# in depth. Let neighbouring bins be correlated, by $\rho$ between neighbours and $\rho^j$ over $j$ steps, and keep
# the law of each bin as it was.

# %%
rhos = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]
figure, axes = figures.new_figure(1, 3, height=2.7, width_ratios=[1, 1, 1.6])
for axis, rho in zip(axes, (0.0, 0.95)):
    for response in draw_responses(16, 3, correlation=rho, generator=torch.Generator().manual_seed(lesson.seed)):
        axis.plot(response, ".-", lw=1.2)
    axis.set(title=f"uniform, ρ = {rho:g}", xlabel="bin", ylabel="response", ylim=(0, 1))
for index, law in enumerate(RESPONSE_LAWS):
    means = np.array([simulate_selectivity(16, trials // 4, law, rho, generator) for rho in rhos])
    axes[2].plot(rhos, means[:, 0], "os^Dv"[index] + "-", ms=4, color=figures.COLOURS[index],
                 label=law.replace("_", " "))

# %%
axes[2].axhline(1 / 3, color="0.4", ls=":")
axes[2].set(xlabel="correlation ρ of neighbouring bins", ylabel="expected selectivity", ylim=(0, 0.7))
axes[2].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
lesson.figure(figure, "correlated", "Left: three units each, with independent and with correlated bins. Right: the "
              "expectation for 16 bins. Standard errors are below the size of the marks.",
              alt="Jagged and smooth random responses, and five curves that fall as the correlation grows.")

# %% [markdown]
# ## Turn it yourself
#
# Choose the number of bins, the law and the correlation. Without a running kernel you see three settings.

# %%
def draw(bins, law, correlation):
    fresh = torch.Generator().manual_seed(lesson.seed)
    responses = draw_responses(bins, lesson.pick(smoke=500, lab=5_000), law, correlation, fresh)
    values = depth_selectivity(responses)
    figure, (left, right) = figures.new_figure(1, 2, height=2.4, width_ratios=[1, 1.5])
    left.stairs(responses[0], np.arange(bins + 1) - 0.5, fill=True, color="0.6")
    left.set(xlabel="bin", ylabel="response", title=f"one of them, DS = {values[0]:.2f}")
    right.hist(values, np.linspace(0, 1, 61), histtype="stepfilled", color=figures.COLOURS[0], alpha=0.6)
    right.axvline(1 / 3, color="0.3", ls=":", label="1/3")
    right.axvline(values.mean(), color=figures.COLOURS[1], label=f"mean {values.mean():.3f}")
    right.set(xlabel="selectivity", ylabel="units", xlim=(0, 1))
    right.legend()
    return figure


# %%
explore(draw, {"bins": [2, 4, 8, 16, 32, 64, 128, 256], "law": list(RESPONSE_LAWS),
               "correlation": [0.0, 0.5, 0.8, 0.9, 0.95, 0.99]},
        [{"bins": 64, "law": "uniform", "correlation": 0.0}, {"bins": 64, "law": "exponential", "correlation": 0.0},
         {"bins": 16, "law": "uniform", "correlation": 0.95}],
        lesson=lesson, name="turn", caption="{bins} bins, law {law}, neighbours correlated by {correlation:g}.",
        alt="Responses of one random unit and a histogram of selectivity: {bins} bins, {law}, ρ = {correlation:g}.")

# %% [markdown]
# ## What real responses look like
#
# Which of these laws is the right one for a real unit? Here are the responses of all units of our network, each
# divided by its largest, beside the paper's random units.

# %%
def relative(table):
    size = table[:, ~table.isnan().all(0)].abs()
    return size / size.max(1, keepdim=True).values.clamp_min(1e-12)


random_units = relative(draw_responses(16, 16, generator=generator))
shown = {"random units (uniform)": random_units} | {t: relative(tables[name]) for name, t in LAYERS.items()}
figure, axes = figures.new_figure(1, 3, height=2.7, sharey=True)
for index, (axis, (title, curves)) in enumerate(zip(axes, shown.items(), strict=True)):
    axis.plot(curves.T, lw=1, color="0.5" if index == 0 else figures.COLOURS[index - 1], alpha=0.7)
    axis.set(title=title, xlabel="depth bin (near to far)", ylim=(0, 1.03))
axes[0].set(ylabel="response, relative\nto the unit's largest")
lesson.figure(figure, "real_responses", "One line a unit. Real responses are smoother in depth than random "
              "ones.",
              alt="Jagged lines of random units beside smooth lines of the units of two layers.")

# %%
def neighbours(curves):
    """Correlation of a unit's response in one bin with that in the next, averaged over units that vary."""
    centred = curves - curves.mean(1, keepdim=True)
    return float(((centred[:, 1:] * centred[:, :-1]).sum(1) / centred.square().sum(1).clamp_min(1e-12)).mean())


lesson.say("Correlation of neighbouring bins along a unit's curve: "
           + ", ".join(f"{title} **{neighbours(curves):+.2f}**" for title, curves in shown.items())
           + ". The paper's random units have about 0. Real bins are not independent of each other.")

# %% [markdown]
# ## Cutting the link instead of assuming a law
#
# There is a way out that assumes no law at all: keep the network, the features and the depth maps, and cut only the
# link between them. Give every pixel's activation the depth of **another** pixel. The question is which other
# pixel, because a depth map holds several links at once:
#
# - between views: some rooms are larger, and a unit may be more active in them as a whole;
# - within a view: the floor below is near and the wall in the middle is far, in nearly every room.

# %%
def other_image(labels, generator):
    order = torch.randperm(len(labels), generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)  # one cycle through all views, so that none meets itself
    return labels[partner]


def permuted(known, generator):
    known = known.clone()
    values = known[known >= 0]
    known[known >= 0] = values[torch.randperm(len(values), generator=generator)]
    return known


# %%
CUTS = {
    "true depth": lambda labels, g: labels,
    "depth of another view": other_image,
    "depth of another pixel of the view": lambda labels, g: torch.stack([permuted(one, g) for one in labels]),
    "both": lambda labels, g: torch.stack([permuted(one, g) for one in other_image(labels, g)]),
    "any pixel of any view": permuted}
figure, axes = figures.new_figure(1, len(CUTS), height=1.75)
for axis, (name, cut) in zip(axes, CUTS.items(), strict=True):
    shuffled = cut(labels, torch.Generator().manual_seed(lesson.seed))[example]
    axis.imshow(np.ma.masked_less(shuffled, 0), cmap=figures.DEPTH_MAP, vmin=0, vmax=15)
    axis.set(xticks=[], yticks=[])
    axis.set_title(name.replace(" of another", "\nof another").replace(" of any", "\nof any"), fontsize=9)
lesson.figure(figure, "cuts", "What one view's activations are paired with. Near is bright.",
              alt="Five label maps: the true one, that of another room, and three that look like noise.")

# %% [markdown]
# | the activations are paired with | what is left | what is gone |
# |---|---|---|
# | the depth of another view | where in the picture depth is usually near or far | this view's depth |
# | another pixel of the same view | which views are near or far as a whole | where in the view |
# | both | that the pixels of a view belong together | both links |
# | any pixel of any view | nothing | everything |
#
# The first two are `shuffle="images"` and `shuffle="pixels"` of `response_table`. Each cut is repeated, to see how
# much it scatters.

# %%
repeats = {name: 1 if name == "true depth" else lesson.pick(smoke=3, lab=10) for name in CUTS}
repeats["depth of another view"] = lesson.pick(smoke=9, lab=99)
generator = torch.Generator().manual_seed(lesson.seed)
nulls = {name: [] for name in CUTS}
for name, cut in CUTS.items():
    for _ in range(repeats[name]):
        found = tables_of(features, cut(labels, generator))
        nulls[name].append({layer: depth_selectivity(table) for layer, table in found.items()})
nulls = {name: {layer: torch.stack([found[layer] for found in each]) for layer in LAYERS}
         for name, each in nulls.items()}  # (repeats, units)

# %% [markdown]
# One more comparison belongs here: the same architecture **before** training, with the true depth. It has seen
# nothing, but it does see the picture.

# %%
fresh = {layer: [] for layer in LAYERS}
for number in range(lesson.pick(smoke=1, lab=3)):
    torch.manual_seed(lesson.seed + number)
    blank = models.create_model("hu_resnet50").to(lesson.device)
    for layer, table in tables_of(features_of(blank), labels).items():
        fresh[layer].append(depth_selectivity(table))
groups = dict(nulls) | {"untrained network, true depth": {layer: torch.stack(f) for layer, f in fresh.items()}}

# %%
figure, axes = figures.new_figure(1, 2, height=3.0, sharey=True)
for axis, (layer, title) in zip(axes, LAYERS.items(), strict=True):
    for index, (name, found) in enumerate(groups.items()):
        means = found[layer].mean(1)
        units = found[layer].mean(0) if "untrained" not in name else found[layer].flatten()
        colour = figures.COLOURS[0 if name == "true depth" else 2 if "untrained" in name else 1]
        axis.plot(units, np.full(len(units), index) + 0.16, "|", color=colour, ms=7, alpha=0.7)
        axis.plot([means.min(), means.max()], [index, index], color=colour, lw=3, alpha=0.5)
        axis.plot(means.mean(), index, "o", color=colour, ms=7)
    axis.axvline(1 / 3, color="0.4", ls=":")
    axis.set(title=title, xlabel="selectivity", xlim=(0, 0.85))

# %%
axes[0].set_yticks(range(len(groups)), list(groups))
axes[0].invert_yaxis()
lesson.figure(figure, "nulls", "Dots: mean over units, with its range over repetitions. Ticks: units, averaged over them. Dotted: "
              "1/3. Blue: the trained network. Orange: the same features with the link cut. Green: before training.",
              alt="Two panels of dots, one row for the true depth, four for shuffled depth, one for untrained networks.")

# %%
rows = [{"paired with": name, "layer": title, "mean over units": f"{found[layer].mean():.3f}",
         "sd over repetitions": f"{found[layer].mean(1).std():.3f}" if len(found[layer]) > 1 else "–",
         "units above 1/3 (%)": f"{100 * (found[layer] > 1 / 3).double().mean():.0f}",
         "repetitions": str(len(found[layer]))}
        for layer, title in LAYERS.items() for name, found in groups.items()]
lesson.table(pd.DataFrame(rows), "nulls_table", f"Selectivity on {len(views)} test views of {lesson.info.title}, "
             f"16 units a layer, {int((~tables['mff'].isnan().all(0)).sum())} bins with pixels.")

# %%
def mean_of(name, layer):
    return float(groups[name][layer].mean())


every, other, own, both, blank_name = (list(groups)[i] for i in (4, 1, 2, 3, 5))
unit_nulls = {layer: groups[other][layer].mean(0) for layer in LAYERS}

# %%
lesson.say(f"""Read it from below.

- **Any pixel of any view** leaves {mean_of(every, 'decoder'):.3f} in D and {mean_of(every, 'mff'):.3f} in MFF: with
  enough pixels every bin has the same mean, and nothing is left to be the largest. The least selective units have
  {real['decoder'].min():.3f} and {real['mff'].min():.3f}: to beat this null shows very little.
- **Both** leaves {mean_of(both, 'decoder'):.3f} and {mean_of(both, 'mff'):.3f}. The pixels of a view come together,
  so a bin's mean rests on some dozens of views and not on thousands of independent pixels.
- **Another pixel of the same view** leaves {mean_of(own, 'decoder'):.3f} and {mean_of(own, 'mff'):.3f}. This is not
  near 0, as one might expect of shuffled pixels. A unit is more active in some views as a whole, and views as a
  whole are near or far.""")

# %%
lesson.say(f"""- **Another view** leaves {mean_of(other, 'decoder'):.3f} and {mean_of(other, 'mff'):.3f}, of
  {mean_of('true depth', 'decoder'):.3f} and {mean_of('true depth', 'mff'):.3f} with the true depth. That much comes
  without the depth of this view: from position in the picture, and from the number of views.
- **Before training**, with the true depth, the layers have {mean_of(blank_name, 'decoder'):.3f} and
  {mean_of(blank_name, 'mff'):.3f}. Units of a network that has learned nothing are no random units either.""")

# %%
lesson.say(f"""Does one of them say 1/3? The null of other views averages {mean_of(other, 'decoder'):.3f} in D and
{mean_of(other, 'mff'):.3f} in MFF. An average near 1/3 would not help: unit by unit this null runs from
{unit_nulls['decoder'].min():.2f} to {unit_nulls['decoder'].max():.2f} in D and from {unit_nulls['mff'].min():.2f} to
{unit_nulls['mff'].max():.2f} in MFF, and the next section moves it by changing nothing but the number of views.""")

# %% [markdown]
# ## How many views?
#
# A null that comes from too few data must fall when there are more. One that comes from position must not. And 1/3
# knows nothing of data.

# %%
sizes = [v for v in lesson.pick(smoke=[2, 4], lab=[5, 10, 20, 50, 100]) if v <= len(views)]
growth = {name: [] for name in CUTS}
for size in sizes:
    for name, cut in CUTS.items():
        found = []
        for _ in range(lesson.pick(smoke=2, lab=6)):
            pick = torch.randperm(len(views), generator=generator)[:size]
            part = tables_of({"mff": features["mff"][pick]}, cut(labels[pick], generator))
            found.append(depth_selectivity(part["mff"]).mean())
        growth[name].append((float(torch.stack(found).mean()), float(torch.stack(found).std())))

# %%
figure, axis = figures.new_figure(height=3.1)
for index, (name, values) in enumerate(growth.items()):
    mean, spread = np.array(values).T
    axis.errorbar(sizes, mean, spread, fmt="os^Dv"[index] + "-", ms=4, capsize=2,
                  color=figures.COLOURS[index], label=name)
axis.axhline(1 / 3, color="0.4", ls=":", label="1/3")
axis.set(xscale="log", xlabel="test views", ylabel="mean selectivity of MFF", ylim=(0, None))
axis.set_xticks(sizes, [str(v) for v in sizes])
axis.minorticks_off()
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
lesson.figure(figure, "growth", "Mean selectivity of the MFF units against the number of views. Bars: standard "
              "deviation over random choices of views and shuffles.",
              alt="Five lines of selectivity that fall with the number of views, and a dotted line at one third.")

# %%
first, last = ({name: values[i][0] for name, values in growth.items()} for i in (0, -1))
lesson.say(f"""From {sizes[0]} to {sizes[-1]} views, the mean of MFF goes from {first['true depth']:.3f} to
{last['true depth']:.3f} with the **true** depth, and from {first[other]:.3f} to {last[other]:.3f} with that of another
view. The largest of noisy numbers is too large, so selectivity is biased upwards when data are few. Whoever
compares a DS on a small set with one on a large set, or either with 1/3, compares sample sizes too.

The last step, from {sizes[-2]} to {sizes[-1]} views, still moves the null of other views by
{growth[other][-1][0] - growth[other][-2][0]:+.3f}. So these views cannot say how much of it is position.""")

# %% [markdown]
# ## Unit by unit
#
# So which null should a reader take? The one that keeps everything but the question. The question is whether a unit
# answers to the depth **of this view**. Then the depth of another view is the one to compare with, for each unit by
# itself: the same activations, the same depth maps, the same pixels in every bin. A unit passes if no more than
# 5 % of the repetitions reach it. Its p-value counts the true pairing as one of them.

# %%
pvalues = {layer: ((nulls[other][layer] >= real[layer]).sum(0) + 1) / (len(nulls[other][layer]) + 1)
           for layer in LAYERS}
figure, axes = figures.new_figure(1, 2, height=3.0, sharey=True)
for axis, (layer, title) in zip(axes, LAYERS.items(), strict=True):
    for place, k in enumerate(real[layer].argsort(descending=True).tolist()):
        low, middle, high = torch.quantile(nulls[other][layer][:, k], torch.tensor([0.05, 0.5, 0.95]).double())
        axis.plot([place, place], [low, high], color=figures.COLOURS[1], lw=4, alpha=0.35)
        axis.plot(place, middle, "_", color=figures.COLOURS[1], ms=9)
        passed = pvalues[layer][k] <= 0.05
        axis.plot(place, real[layer][k], "o", color=figures.COLOURS[0], mfc=None if passed else "white", ms=7)
    axis.axhline(1 / 3, color="0.4", ls=":")
    axis.set(title=title, xlabel="units, most selective first", xticks=[])

# %%
axes[0].set(ylabel="selectivity", ylim=(0, None))
lesson.figure(figure, "units", "Circles: units with the true depth; filled where p ≤ 0.05. Orange: the same unit with "
              "the depth of other views, from the 5th to the 95th percentile. Dotted: 1/3.",
              alt="For each unit of two layers a circle and a vertical bar of its own null, and a line at one third.")

# %%
rows = []
for layer, title in LAYERS.items():
    above, passed = real[layer] > 1 / 3, pvalues[layer] <= 0.05
    rows.append({"layer": title, "units": str(len(above)), "above 1/3": str(int(above.sum())),
                 "p ≤ 0.05": str(int(passed.sum())), "above 1/3, but p > 0.05": str(int((above & ~passed).sum())),
                 "below 1/3, but p ≤ 0.05": str(int((~above & passed).sum())),
                 "p ≤ 0.05 by chance": f"{0.05 * len(above):.1f}"})
frame = pd.DataFrame(rows)
lesson.table(frame, "counted", "The same units counted in two ways. Last column: how many would pass if no unit "
             "answered to the depth of its view.")
wrong, missed = (frame[c].astype(int).sum() for c in ("above 1/3, but p > 0.05", "below 1/3, but p ≤ 0.05"))
lesson.say(f"Of {sum(map(len, real.values()))} units, 1/3 and the unit's own null disagree on **{wrong + missed}**: "
           f"{wrong} are above 1/3, but not shown to be beyond what other views' depth gives; {missed} are below it, "
           "and are.")

# %% [markdown]
# A p-value says that a link is there. It does not say that the link is strong, or that the network needs the unit;
# notebook 04 silences units and looks.
#
# ## What we had to decide
#
# The supplement does not say on which bins and views its null is to be used. Our bins end at the last percentile, so
# that each has pixels of many views. The bins of the authors' NYU code go from 0.75 to 10 m. Here is the same network
# with those, and with bins of one width. (*sid*: bins that grow with distance, as above.)

# %%
choices = {"percentiles, sid (ours)": edges, "0.75 to 10 m, sid (authors' NYU code)": depth_bin_edges(16, 0.75, 10.0),
           "percentiles, one width": depth_bin_edges(16, float(near), float(far), "uniform")}
rows = []
for title, cuts in choices.items():
    marked = bin_labels(views.depth, cuts, views.mask)
    counted = torch.stack([torch.bincount(one[one >= 0], minlength=16) for one in marked])  # (views, bins)
    pixels, rarest = counted.sum(0), int(counted.sum(0).where(counted.sum(0) > 0, 10**9).argmin())
    true = tables_of(features, marked)
    cut = [tables_of(features, other_image(marked, generator)) for _ in range(lesson.pick(smoke=2, lab=10))]
    rows.append({"bins": title, "empty": int((pixels == 0).sum()), "pixels in the rarest": int(pixels[rarest]),
                 "of how many views": int((counted[:, rarest] > 0).sum()),
                 **{f"{layer}, {what}": f"{np.mean([depth_selectivity(t[layer]).mean() for t in tables]):.3f}"
                    for layer in LAYERS for what, tables in (("true", [true]), ("other view", cut))}})

# %%
lesson.table(pd.DataFrame(rows), "bins", "Mean selectivity of both layers under three choices of bins, with the true "
             "depth and with that of another view. All columns move, also those of the null.")

# %% [markdown]
# - **Which views.** Test views, which the network has not seen. The paper dissects training and test sets.
# - **Sign.** DS is taken from the size of the mean activation. Both layers end in a ReLU, so it makes no difference.
# - **Which orders.** No view meets its own depth, as in the library. Views must be drawn independently of each other;
#   every rendered room is. In a video, neighbouring frames would have to move together.
# - **How many repetitions.** With 99 the smallest possible p is 0.01. The table counts at 0.05 and prints how many
#   units chance alone would let pass; it does not correct for looking at many units.
# - **One network.** It is small and comes from one seed. Other networks have other numbers.
#   That the null moves from layer to layer is the point.
#
# ## Verdict

# %%
states = {claim.place.split()[-1]: papers.check_analytic(claim)[0] for claim in papers.load_claims("you2021")
          if claim.identity}
lesson.say(f"""| claim | verdict |
|---|---|
| Eq 2, the distribution of the largest response | **{states['2']}** |
| Eq 4, its mean | **{states['4']}** |
| Eq 5, the mean of the others | **{states['5']}** |
| Eq 6, the expectation of DS is 1/3 | **{states['6']} N → ∞**; at 64 bins {expected_selectivity(64):.4f} |

Eq 6 divides two means where the mean of a ratio is asked for. At the 64 bins of the authors' code that costs
{expected_selectivity(64) - 1 / 3:.4f}. What costs more is the assumption under it. Under the five laws above a
random unit averages from {min(at64.values()):.2f} to {max(at64.values()):.2f}, and the units of a real network with the
depth of other rooms average {mean_of(other, 'decoder'):.2f} in one layer and {mean_of(other, 'mff'):.2f} in the next.
**Do not compare a unit with 1/3. Compare it with itself, on the depth of other views.**""")

# %% [markdown]
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. The lower end.** Let responses be uniform on [low, high] instead of [0, b]. Redo Eq 4, 5 and 6: return the ratio
# of expectations.

# %%
def my_ratio_of_expectations(low, high, num_bins):
    # <solution>
    largest = low + (high - low) * num_bins / (num_bins + 1)
    others = low + (high - low) * num_bins / (2 * (num_bins + 1))
    return (largest - others) / (largest + others)
    # </solution>


# %%
check.ratio_of_expectations(my_ratio_of_expectations)

# %% [markdown]
# **2. Your own integral.** Compute the expectation of DS for the uniform law, in a way of your own, to four digits.
# The trapezoid rule over $0 \le t \le 40$ is good enough.

# %%
def my_expectation(num_bins):
    # <solution>
    n = num_bins - 1
    t = np.linspace(1e-9, 40, 200_001)
    integrand = np.exp(-t) * (-np.expm1(-t / n) * n / t)**n
    return -1 + 2 * np.trapezoid(integrand, t)
    # </solution>


# %%
check.expected_selectivity(my_expectation)

# %% [markdown]
# **3. A unit against itself.** `selectivity` (U,) has the DS of each unit and `shuffled` (S, U) what each has in each
# of S shuffles. Return the p-values (U,): the share of orders, the true one included, that reach the unit's DS.

# %%
def my_p_values(selectivity, shuffled):
    # <solution>
    return ((shuffled >= selectivity).sum(0) + 1) / (len(shuffled) + 1)
    # </solution>


# %%
check.shuffle_p_value(my_p_values)

# %% [markdown]
# **4. Open question.** The depth of another view still differs in how large its room is. Design a cut that exchanges
# depth only between views of about the same mean depth. What link does it leave, what does it remove, and which units
# of MFF does it let pass? There is no list of answers.
#
# ## What to read next
#
# - You, Tsai, Chiu, Li, ICCV 2021 (arXiv 2108.05312), and its supplement: the paper of this notebook and the next.
# - Bau, Zhou, Khosla, Oliva, Torralba, CVPR 2017 (arXiv 1704.05796): network dissection, where the idea comes from.
# - Phipson and Smyth 2010 (arXiv 1603.05766): why a permutation p-value is never zero.
# - Adebayo et al., NeurIPS 2018 (arXiv 1810.03292): sanity checks of explanations with untrained networks.
# - In this course: notebook 04 dissects networks trained with and without the paper's regulariser.
