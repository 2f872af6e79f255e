# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 10 · Depth probability maps
#
# A teacher network says of a pixel: "3 metres". That is one number, and all that a student can copy from it. Choi, Choi
# and Kim ([choi2024](https://arxiv.org/abs/2402.14340)) want to teach more. They turn the number into a distribution
# over 257 bins of depth, the **depth probability map**. The student learns to say the whole distribution. Nothing of
# the teacher is needed but its depth, so any network can be the teacher. And every entry of the map has a meaning: its
# probabilities "directly quantify the likelihood of each bin's contribution to the final depth value" (Section 3.2).
#
# Three equations do it. A Gaussian around the depth (Eq 1). Its integral over each bin (Eq 2), made to sum to 1 by a
# softmax. And the way back: the mean of the bins' centres (Eq 3). A fourth one compares two maps (Eq 5).
#
# **The question.** Does the map still say what the depth was?
#
# Each step has a switch. The paper and its authors' code set two of them differently. We try all settings, on rooms
# (49 bins up to 10 m, as the code has for NYU) and on streets (257 bins up to 80 m, as for KITTI).

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import itertools
import math

import numpy as np
import pandas as pd
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mdelib import course, figures, papers
from mdelib.audit import audit_claim
from mdelib.complexity import ratio_interval, time_in_turns
from mdelib.distill import (CUT_OFF, DIRECTIONS, MASSES, NORMALIZATIONS, bin_centres, depth_bins,
                            depth_probability_map, dpm_loss, entropy, expected_depth, fused_dpm_loss, support)
# %%
from mdelib.exercises import check
from mdelib.metrics import depth_metrics
from mdelib.widgets import explore

lesson = course.start("10", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## First the picture
#
# A street, and three pixels of it. Below, what Eq 1 and 2 make of their depths: a bump each. A bump stands where the
# depth is, and its width σ says how far from it a bin still counts. To the right, the same bumps after the softmax.

# %%
STREET = depth_bins(257, 1e-3, 80.0)
ROOM = depth_bins(49, 1e-3, 10.0)
SIGMA = 0.8  # metres; Section 4.2
streets = lesson.views("test", "scenes-streets")
rooms = lesson.views("test")
view = streets[lesson.pick(smoke=0, lab=3)]
height, width = view.depth.shape[-2:]
known = torch.where(view.mask, view.depth, 0)[0, 0]
PIXELS = [divmod(int((known - goal).abs().argmin()), width) for goal in (6.0, 17.0, 38.0)]
depths = torch.stack([known[row, column] for row, column in PIXELS]).double()

# %%
figure, axes = figures.new_figure(1, 2, height=2.6)
figures.show_image(axes[0], view.image[0], "a rendered street")
figures.show_depth(axes[1], view.depth[0], "its depth", limits=(2, 60), mask=view.mask[0])
figure.colorbar(axes[1].images[0], ax=axes[1], label="depth (m)")
for index, (row, column) in enumerate(PIXELS):
    for axis in axes:
        axis.plot(column, row, "o", ms=9, mfc=figures.COLOURS[index], mec="white", mew=1.5)
        axis.annotate(f"{depths[index]:.0f} m", (column, row), (9, -4), textcoords="offset points", fontsize=9,
                      bbox={"fc": "white", "lw": 0, "alpha": 0.8, "pad": 1})
lesson.figure(figure, "street", "Three pixels. Near is bright; grey has no depth.",
              alt="A rendered street and its depth map, each with three coloured dots.")

# %% [markdown]
# ## The idea in ten lines
#
# The Gaussian, with the depth $d$ of the teacher (Eq 1), and its share in bin $B_i$ (Eq 2):
#
# $$f(x) = \frac{1}{\sigma\sqrt{2\pi}}\, e^{-\frac12 \left(\frac{x-d}{\sigma}\right)^2}, \qquad
# v_i = \int_{B_i} f(x)\,dx .$$
#
# Values below $10^{-16}$ are cut off. The others go through a softmax, $p_i = e^{v_i} / \sum_j e^{v_j}$. Back to
# depth (Eq 3): $d = \sum_i c_i\, p_i$, with $c_i$ the centres of the bins. The integral is a difference of two tails of
# the Gaussian. We take both on the side on which the bin lies; why, we shall see.

# %%
def my_values(depth, edges, sigma):
    """Eq 1 and 2: the share of each bin, (K,)."""
    z = (edges - depth) / sigma
    tail = torch.erfc(z.abs() / 2**0.5) / 2
    left, right = tail[:-1], tail[1:]
    around = 1 - left - right  # of the bin that holds the depth
    return torch.where(z[1:] <= 0, right - left, torch.where(z[:-1] >= 0, left - right, around))


def my_map(depth, edges, sigma):
    value = my_values(depth, edges, sigma)
    return value.masked_fill(value < 1e-16, -torch.inf).softmax(0)

# %%
library = depth_probability_map(depths.view(1, 1, 1, 3), STREET, SIGMA)
mine = torch.stack([my_map(depth, STREET, SIGMA) for depth in depths], 1)
decoded = expected_depth(library, STREET).flatten()
print("map equal to the library:", torch.allclose(mine, library[0, :, 0], atol=1e-12))
print("decode equal to the library:", torch.allclose((bin_centres(STREET)[:, None] * mine).sum(0), decoded))
print("every pixel sums to 1:", torch.allclose(library.sum(1), torch.ones(1, 1, 3, dtype=torch.float64)))

# %%
figure, axes = figures.new_figure(1, 2, height=2.7, sharex=True)
for index, depth in enumerate(depths):
    parts = (my_values(depth, STREET, SIGMA), library[0, :, 0, index])
    for axis, heights in zip(axes, parts, strict=True):
        axis.stairs(heights, STREET, fill=True, color=figures.COLOURS[index], alpha=0.6)
        axis.axvline(depth, color=figures.COLOURS[index], lw=1, ls=":")
    axes[1].plot(decoded[index], 0, "^", color=figures.COLOURS[index], ms=9, clip_on=False, zorder=5)
axes[0].set(title="Eq 2", xlabel="depth (m)", ylabel="share of the bin", xlim=(0, 55))
axes[1].set(title="after the softmax", xlabel="depth (m)", ylabel="probability")
lesson.figure(figure, "bumps", "Dotted: the depths of the three pixels. Triangles: what the maps decode to.",
              alt="Left: three narrow bumps. Right: three low boxes; the nearest one decodes too far.")

# %%
lesson.say("The bumps have become boxes. The two far pixels come back as they were: "
           + ", ".join(f"{d:.1f} m as {e:.1f} m" for d, e in zip(depths[1:], decoded[1:], strict=True))
           + f". The near one, at {depths[0]:.2f} m, comes back as **{decoded[0]:.2f} m**. Its box would begin before "
           "the camera, and is cut off there. What is left has its middle farther away.")

# %% [markdown]
# ## Four maps
#
# Two of the switches make the map. `mass` says what a bin gets: the integral of the Gaussian (the paper's Eq 2), or its
# density at the centre of the bin (the authors' code, which does not multiply by the bin's width). `normalize` says how
# the values become probabilities: softmax (both), or division by the sum (**linear**, which neither does).

# %%
KINDS = {"density, softmax (the code)": ("density", "softmax"),
         "integral, softmax (the paper)": ("integral", "softmax"),
         "density, linear": ("density", "linear"), "integral, linear": ("integral", "linear")}


def decode(depth, edges, sigma, kind):
    """Depths (N,) through a map and back."""
    mass, normalize = KINDS[kind]
    maps = depth_probability_map(depth.view(1, 1, 1, -1), edges, sigma, mass=mass, normalize=normalize)
    return expected_depth(maps, edges).flatten()

# %%
figure, axes = figures.new_figure(2, 2, height=1.9, sharex=True, sharey="row")
three = torch.tensor([3.0], dtype=torch.float64)
for axis, (kind, (mass, normalize)) in zip(axes.flat, KINDS.items(), strict=True):
    heights = depth_probability_map(three.view(1, 1, 1, 1), STREET, SIGMA, mass=mass, normalize=normalize)
    back = decode(three, STREET, SIGMA, kind).item()
    axis.stairs(heights.flatten(), STREET, fill=True, color=figures.COLOURS[0], alpha=0.6)
    axis.axvline(3, color="0.3", ls=":", label="depth 3 m")
    axis.axvline(back, color=figures.COLOURS[1], label=f"decodes to {back:.2f} m")
    axis.set(title=kind, xlim=(0, 20))
    axis.legend(loc="upper right")
for bottom, left in zip(axes[1], axes[:, 0], strict=True):
    bottom.set_xlabel("depth (m)")
    left.set_ylabel("probability")
lesson.figure(figure, "four", "One pixel at 3 m, σ = 0.8 m, 257 bins to 80 m. The scales of the two rows differ.",
              alt="Four maps of a pixel at three metres: two boxes that end at the camera, and two Gaussian bumps.")

# %%
PROBES = torch.tensor([1.0, 3, 5, 30, 79], dtype=torch.float64)
rows = []
for kind, sigma in itertools.product(KINDS, (0.1, 0.5, 0.8, 1.5)):
    mass, normalize = KINDS[kind]
    maps = depth_probability_map(PROBES.view(1, 1, 1, -1), STREET, sigma, mass=mass, normalize=normalize)
    far = maps[..., 3:4]
    bins = int(support(far))
    rows.append({"map": kind, "σ (m)": str(sigma), "bins kept": bins, "peak": float(far.max()),
                 "entropy": f"{float(entropy(far)):.2f} of {math.log(bins):.2f}",
                 **{f"{d:.0f} m": f"{e:.2f}" for d, e in zip(PROBES, expected_depth(maps, STREET).flatten())}})
lesson.table(pd.DataFrame(rows), "probes", "Bins, peak and entropy (how spread out a map is, in nats; *of* that of a "
             "flat box) of a pixel at 30 m, and the depths that pixels at 1, 3, 5, 30 and 79 m decode to.")

# %% [markdown]
# Read the columns at the right. At 30 m every map is right to about a decimetre (a box has whole bins only, so its
# middle jumps by half a bin). Near the ends of the range, at 1, 3 and 79 m, the softmax maps are wrong by half a metre
# to many metres from σ = 0.5 m on. And the wider σ, the farther "near the end" reaches.
#
# ## Why a box?
#
# A softmax is made for numbers like −5 and 12. At the paper's σ = 0.8 m Eq 2 gives it numbers between 0 and a sixth.
# The exponential of all these is about 1, and so all bins that are kept get about the same.

# %%
top = {"density": 1 / (SIGMA * math.sqrt(2 * math.pi)),
       "integral": float(my_values(bin_centres(STREET)[100], STREET, SIGMA).max())}
figure, axis = figures.new_figure(height=2.8)
value = np.linspace(0, 0.55, 200)
axis.plot(value, np.exp(value), color=figures.COLOURS[0], label="softmax: e^v")
axis.plot(value, value / value.max() * np.exp(value.max()), "--", color=figures.COLOURS[2], label="linear: v (scaled)")
for mass, name in (("integral", "largest integral"), ("density", "largest density")):
    axis.plot(top[mass], math.exp(top[mass]), "o", color=figures.COLOURS[1])
    axis.annotate(f"{name}: e^{top[mass]:.3f} = {math.exp(top[mass]):.2f}", (top[mass], math.exp(top[mass])),
                  (-8, 10), textcoords="offset points", ha="right")

# %%
axis.set(xlabel="value v of a bin", ylabel="its weight", ylim=(0, 2.1))
axis.legend(loc="lower right")
lesson.figure(figure, "weights", "σ = 0.8 m. A bin at the edge of what is kept has v = 10⁻¹⁶, and the weight 1.",
              alt="The exponential between 0 and 0.55 hardly rises above 1; the line through zero does.")
values = my_values(torch.tensor(30.0).double(), STREET, SIGMA)
kept = values[values >= CUT_OFF]
print("softmax of log(v) is the linear map:", torch.allclose(kept.log().softmax(0), kept / kept.sum()))

# %% [markdown]
# A narrower σ makes the values larger and the map less flat (σ = 0.1 m in the table). But what is missing is a
# logarithm: a softmax of **log**-values is the linear map exactly, at every σ.
#
# The paper cuts off small values "to mitigate the dilution of probabilities in the core region". Does that work? A
# Gaussian has 68 % of its probability within σ of the middle.

# %%
def core(kind, cut):
    """Probability within σ of a pixel at 30 m."""
    values = my_values(torch.tensor(30.0).double(), STREET, SIGMA)
    if KINDS[kind][0] == "density":
        z = (bin_centres(STREET) - 30) / SIGMA
        values = torch.exp(-z.square() / 2) / (SIGMA * math.sqrt(2 * math.pi))
    values = torch.where(values < CUT_OFF, -torch.inf if cut else 0.0, values)
    if KINDS[kind][1] == "linear":
        values = values.clamp_min(0).log()
    inside = (torch.minimum(STREET[1:], STREET.new_tensor(30 + SIGMA))
              - torch.maximum(STREET[:-1], STREET.new_tensor(30 - SIGMA))).clamp_min(0) / STREET.diff()
    return float((values.softmax(0) * inside).sum())

# %%
cores = {kind: (core(kind, False), core(kind, True)) for kind in KINDS}
rows = [{"map": kind, "without the cut-off (%)": f"{100 * free:.1f}", "with it (%)": f"{100 * cut:.1f}"}
        for kind, (free, cut) in cores.items()]
lesson.table(pd.DataFrame(rows), "core", "Probability within one σ of the depth, for a pixel at 30 m and σ = 0.8 m. "
             "Eq 1 has 68.3 %.")
paper = cores["integral, softmax (the paper)"]
lesson.say(f"The cut-off does what it is for: it lifts the core from {100 * paper[0]:.1f} to {100 * paper[1]:.1f} %. "
           "The cut-off is also nearly all that still says where the depth is: without it the softmax map would be "
           "almost the same for every depth.")

# %% [markdown]
# ## How wrong, at every depth
#
# Now all depths, here up to 20 m; the far end of the range is the mirror image. The box has a half-width $R$, the reach
# of the cut-off: about $8.2\,\sigma$ for the integral and $8.5\,\sigma$ for the density. At $d < R$ the box goes from 0
# to $d + R$. Its middle is $(d + R)/2$, so the map is off by $(R - d)/2$. That is a straight line. (The bump on the box
# takes a little of it back.)

# %%
GRID = torch.cat([torch.linspace(0.05, 16, 800), torch.linspace(16.1, 80, 640)]).double()
SIGMAS = (0.1, 0.5, 0.8, 1.5)
figure, axes = figures.new_figure(2, 2, height=2.3, sharex=True, sharey="row")
for axis, kind in zip(axes.flat, KINDS, strict=True):
    for index, sigma in enumerate(SIGMAS):
        off = decode(GRID, STREET, sigma, kind) - GRID
        dashes = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)))[index]
        axis.plot(GRID, off, ls=dashes, color=figures.COLOURS[index], label=f"σ = {sigma:g} m")
    if kind.startswith("density, softmax"):
        line = 8.5 * 0.8 - GRID[GRID < 8.5 * 0.8]
        axis.plot(GRID[GRID < 8.5 * 0.8], line / 2, ":", color="black", lw=2.5, label="(R − d) / 2")
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axis.set(title=kind, xlim=(0, 20), xticks=range(0, 20, 5), ylim=(-0.4, 6.4) if "softmax" in kind else (-0.1, 1.3))

# %%
for axis in axes[:, 0]:
    axis.set_ylabel("decoded − depth (m)")
for axis in axes[1]:
    axis.set_xlabel("depth (m)")
axes[0, 0].legend()
lesson.figure(figure, "bias", "What a map decodes to, minus the depth that it was made from. Each row has a scale of "
              "its own. The teeth are bins that enter the box at its far side.",
              alt="Falling lines from plus six metres near the camera to zero, for softmax; small errors for linear.")

# %% [markdown]
# The linear map is wrong near the ends, too, by less than σ. A Gaussian that is cut off at 0 has its mean at
# $d + \sigma\,\varphi(d/\sigma)/\Phi(d/\sigma)$, which is farther. A few σ away nothing is left of that.
#
# ## On whole views
#
# Suppose the student learns perfectly: it says the teacher's map, bin by bin. And suppose the teacher is
# perfect: its depth is the truth. Here is the error of that student.

# %%
room = rooms[lesson.pick(smoke=0, lab=44)]
shown = {"street, 257 bins": (view, STREET), "room, 49 bins": (room, ROOM)}
figure, axes = figures.new_figure(2, 4, height=1.75)
for row, (name, (one, edges)) in zip(axes, shown.items(), strict=True):
    limits = tuple(float(one.depth[one.mask].quantile(q)) for q in (0.02, 0.9))
    figures.show_image(row[0], one.image[0], name)
    figures.show_depth(row[1], one.depth[0], "depth", limits=limits, mask=one.mask[0])
    figure.colorbar(row[1].images[0], ax=row[1], label="depth (m)")
    for axis, kind in zip(row[2:], ("density, softmax (the code)", "integral, linear"), strict=True):
        off = decode(one.depth.flatten(), edges, SIGMA, kind).view(one.depth.shape) - one.depth
        artist = figures.show_signed(axis, off[0], kind.removesuffix(" (the code)"), limit=3.0, mask=one.mask[0])
    figure.colorbar(artist, ax=row[2:], label="decoded − depth (m)")
lesson.figure(figure, "views", "σ = 0.8 m. Red: a perfect student says too far. Blue: too near.",
              alt="A street and a room with depth and two error maps each; the softmax map errs widely.")

# %% [markdown]
# One number a set of views needs no maps at all: decoding depends on depth alone, so a table of the decode at many
# depths is enough.

# %%
def copied(views, edges, sigma, kind):
    """Depth errors of a student that says the perfect teacher's map at every pixel."""
    grid = torch.linspace(float(edges[0]), float(edges[-1]), lesson.pick(smoke=400, lab=4000), dtype=torch.float64)
    back = decode(grid, edges, sigma, kind)
    pred = torch.from_numpy(np.interp(views.depth.numpy(), grid.numpy(), back.numpy())).float()
    return depth_metrics(pred, views.depth, views.mask, max_depth=float(edges[-1]))


rows = []
for (name, views, edges, sigmas), kind in itertools.product(
        (("streets", streets, STREET, (0.1, 0.5, 0.8)), (lesson.info.title, rooms, ROOM, (0.15, 0.5, 0.8))), KINDS):
    for sigma in sigmas:
        score = copied(views, edges, sigma, kind)
        rows.append({"views": name, "map": kind, "σ (m)": str(sigma), "AbsRel": score["abs_rel"],
                     "RMSE (m)": score["rmse"], "δ1": score["delta1"]})

# %%
floor = pd.DataFrame(rows)
lesson.table(floor, "copied", f"A perfect student of a perfect teacher, {len(streets)} streets and {len(rooms)} views "
             f"of {lesson.info.title}. With linear maps the depth comes back; with softmax only where σ is small.")
at = floor.set_index(["views", "map", "σ (m)"])["AbsRel"]
code = "density, softmax (the code)"
printed = papers.load_table("choi2024", "table7").pivot(index="row", columns="column", values="value")
room_at = {sigma: at[lesson.info.title, code, sigma] for sigma in ("0.15", "0.5", "0.8")}
lesson.say(f"""On streets at σ = 0.8 m the authors' map costs an AbsRel of **{at['streets', code, '0.8']:.3f}**. The
paper's trained student has {printed.loc[0.8, 'abs_rel']:.3f} in all (on other streets: KITTI's). In rooms everything
is near, and 0.8 m would cost {room_at['0.8']:.2f}. The authors' configuration for NYU asks for 0.15 m, which costs
{room_at['0.15']:.3f}. But in the released code the combined loss does not hand its σ on: whatever is set, the maps are
made with 0.5 m, and that costs **{room_at['0.5']:.2f}**. In the tables of the authors' repository every TIE-KD student
is worse than its baseline on NYU. Whether this is why, our numbers cannot say.""")

# %% [markdown]
# How can students be better than the map that they are taught? Because they are not taught the map alone. The loss of
# Eq 4 is $\beta(\alpha L_{DPM} + (1 - \alpha) L_{depth})$, with α = 0.1, and $L_{depth}$ compares the *decoded* depth
# with the teacher's. With softmax maps **the two terms ask for different depths** of every near pixel. With linear maps
# they ask for the same. The student has to find something between; notebook 11 trains it.
#
# ## Table 7
#
# The paper varies σ from 0.1 to 1.5 m. It trains one student for each and says: "a σ value of 0.1 generally yielded
# good overall performance" (Section 4.5.4). Here are its AbsRel and RMSE, and below them those of our perfect student.

# %%
ours = {kind: pd.DataFrame({sigma: copied(streets, STREET, sigma, kind) for sigma in printed.index}).T
        for kind in (code, "integral, linear")}
figure, axes = figures.new_figure(2, 2, height=2.1, sharex=True)
for column, (measure, title) in enumerate({"abs_rel": "AbsRel", "rmse": "RMSE (m)"}.items()):
    axes[0, column].plot(printed.index, printed[measure], "o-", color="0.2")
    axes[0, column].set(title=f"{title}, Table 7", ylabel=title)
    for index, (kind, frame) in enumerate(ours.items()):
        axes[1, column].plot(frame.index, frame[measure], ("o-", "s--")[index], color=figures.COLOURS[index],
                             label=kind)
    axes[1, column].set(title=f"{title}, a perfect copy", xlabel="σ (m)", ylabel=title, ylim=(0, None))
axes[1, 0].legend()
lesson.figure(figure, "table7", "Above: the paper's students on KITTI, one training each. Below: the map alone, on "
              "rendered streets. Compare shapes, not levels.", alt="Above, the paper's AbsRel rises by a tenth with "
              "sigma and its RMSE wavers. Below, both rise steeply for softmax and stay at zero for the linear map.")

# %%
trend = {m: printed[m].corr(pd.Series(printed.index, printed.index), method="spearman") for m in printed}
better = printed.copy()
for measure in printed:
    better[measure] = printed[measure].rank(ascending=not measure.startswith("delta"))
means = better.mean(axis=1).sort_values()
found = {claim.id: audit_claim(claim).verdict for claim in papers.load_claims("choi2024") if claim.notebook == "10"}

# %%
way = np.ptp(printed["abs_rel"]) / np.ptp(ours[code]["abs_rel"])
extra, least = way * ours[code]["rmse"].max(), printed["rmse"].min()
lesson.say(f"""**What the table says.** AbsRel rises with σ (Spearman's ρ = {trend['abs_rel']:.2f}); so does RMSE of
logarithms ({trend['rmse_log']:.2f}). RMSE does not ({trend['rmse']:+.2f}). A small mistake at near pixels would look
like this, and the bias of the map is one. The paper's students follow the perfect copy a little way: their AbsRel goes
from {printed['abs_rel'].min():.4f} to {printed['abs_rel'].max():.4f}, which is {100 * way:.1f} % of what the copy's
does. The same share of the copy's RMSE is {extra:.2f} m. Errors add in squares, so beside
{least:.2f} m it adds {1e3 * (math.hypot(least, extra) - least):.1f} mm: it hides behind the far pixels. This fits the table; it does not prove the cause.""")

# %%
lesson.say(f"""**And σ = 0.1 m?** Rank the {len(printed)} values in each of the seven columns. 0.1 has the mean rank
{means[0.1]:.1f}, which is place {int((means < means[0.1]).sum()) + 1} of {len(means)}; it is best in
{int((better.loc[0.1] == better.min()).sum())} columns. The best mean rank, {means.iloc[0]:.1f}, has
{means.index[0]:g} m. "Generally good" is **{found['choi2024-sec4.5.4-good']}** by the table. But all of RMSE lies
between {printed['rmse'].min():.3f} and {printed['rmse'].max():.3f} m, from one training each; whether any of these
ranks is more than chance is a question for several seeds (notebook 12).""")

# %% [markdown]
# There is a riddle in this table. The released code makes all its maps with σ = 0.5 m, as we saw. Had Table 7 been made
# with it, σ could not matter, and AbsRel would be noise. A rise this steady is not. So the table's runs were made with
# other code, or the σ was set elsewhere.
#
# ## The tails
#
# Why did we compute both tails on their own side? Because the cut-off lies eight σ out. The usual way is
# $\Phi(b) - \Phi(a)$ with the error function. In float32 numbers near 1 are 6·10⁻⁸ apart: of a tail of 10⁻¹⁵ nothing
# is left. In a linear map that would not matter. In a box it does, since every lost bin was as high as the others.

# %%
def by_erf(depth, edges, sigma, dtype):
    """The paper's map with a difference of error functions."""
    z = ((edges - depth) / (sigma * math.sqrt(2))).to(dtype)
    value = torch.erf(z).diff() / 2
    return value.masked_fill(value < 1e-16, -torch.inf).softmax(0)


rows = []
for dtype in (torch.float64, torch.float32):
    library = depth_probability_map(torch.full((1, 1, 1, 1), 3.0, dtype=dtype), STREET, SIGMA)
    ways = {"erf": by_erf(3.0, STREET, SIGMA, dtype), "tails on their own side (library)": library}
    for name, p in ways.items():
        back = float((p.flatten().double() * bin_centres(STREET)).sum())
        rows.append({"way": name, "dtype": str(dtype).removeprefix("torch."), "bins kept": int((p > 0).sum()),
                     "3 m decodes to (m)": f"{back:.3f}"})
lesson.table(pd.DataFrame(rows), "tails", "The paper's map of a pixel at 3 m, σ = 0.8 m, computed in four ways.")

# %%
generator = torch.Generator().manual_seed(lesson.seed)
many = 80 * torch.rand(1, 1, 1, lesson.pick(smoke=100, lab=2000), generator=generator)
worst = {}
for (kind, (mass, normalize)), sigma in itertools.product(KINDS.items(), SIGMAS):
    one, two = (depth_probability_map(depth, STREET, sigma, mass=mass, normalize=normalize)
                for depth in (many, many.double()))
    worst[kind, sigma] = float((one - two).abs().max()), int((support(one) != support(two)).sum())
lesson.say(f"The library in float32 against float64, {many.numel()} random depths, all four maps, σ from {SIGMAS[0]} "
           f"to {SIGMAS[-1]} m: largest difference of a probability {max(d for d, _ in worst.values()):.1e}; pixels "
           f"with another number of bins: {sum(n for _, n in worst.values())}.")

# %% [markdown]
# ## Narrower than a bin
#
# Table 7 begins at σ = 0.1 m, and a bin is 0.311 m wide. The Gaussian then sees one to three bins, and what the map
# says depends on where in its bin the depth happens to lie. The linear maps are no longer exact either: the decode
# ripples around the truth, once a bin.
#
# Its height can be computed. A sum over evenly spaced bins is an integral plus waves (Poisson's summation formula). The
# first wave has the size $q = e^{-2\pi^2\sigma^2/w^2}$ for bins of width $w$, and with $\theta = 2\pi(d - c)/w$
#
# $$\text{integral: } -\frac{w}{\pi}\, q \sin\theta, \qquad \text{density: } -\frac{4\pi\sigma^2}{w}\, q \sin\theta .$$

# %%
w, centre = float(STREET[1] - STREET[0]), bin_centres(STREET)[100]
inside = torch.linspace(-0.5, 1.5, 201, dtype=torch.float64)
theta = 2 * math.pi * inside
figure, axes = figures.new_figure(1, 3, height=2.6)
for index, mass in enumerate(MASSES):
    depth = centre + w * inside
    off = decode(depth, STREET, 0.1, f"{mass}, linear") - depth
    wave = {"integral": w / math.pi, "density": 4 * math.pi * 0.1**2 / w}[mass]
    axes[0].plot(inside, 100 * off, ("-", "--")[index], color=figures.COLOURS[index], label=mass)
    axes[0].plot(inside, -100 * wave * math.exp(-2 * (math.pi * 0.1 / w)**2) * torch.sin(theta), ":", color="0.2")
    maps = depth_probability_map(depth.view(1, 1, 1, -1), STREET, 0.1, mass=mass, normalize="linear")
    axes[1].plot(inside, maps.amax(1).flatten(), ("-", "--")[index], color=figures.COLOURS[index])

# %%
shares, depth = np.linspace(0.1, 1.2, 23), centre + w * inside
heights = {mass: [float((decode(depth, STREET, s * w, f"{mass}, linear") - depth).abs().max()) for s in shares]
           for mass in MASSES}
for index, (mass, found_heights) in enumerate(heights.items()):
    axes[2].plot(shares, found_heights, "os"[index], ms=3, color=figures.COLOURS[index])
waves = np.exp(-2 * np.pi**2 * shares**2)
axes[2].plot(shares, w / np.pi * waves, ":", color="0.2", label="first wave")
axes[2].plot(shares, 4 * np.pi * shares**2 * w * waves, ":", color="0.2")
axes[2].set(yscale="log", xlabel="σ / width of a bin", ylabel="largest error (m)", ylim=(1e-13, 10), xlim=(0, 1.25))
for share, name in ((0.1 / w, "σ 0.1, KITTI"), (0.15 / float(ROOM[1] - ROOM[0]), "σ 0.15, NYU")):
    axes[2].axvline(share, color="0.7", lw=1, zorder=0)
    axes[2].annotate(name, (share, 2e-13), (3, 0), textcoords="offset points", fontsize=8, rotation=90)

# %%
axes[0].set(xlabel="place in the bin", ylabel="decoded − depth (cm)", ylim=(-6, 10))
axes[1].set(xlabel="place in the bin", ylabel="highest probability", ylim=(0, 1.03))
axes[0].legend(loc="upper center", ncols=2, fontsize=8)
axes[2].legend(loc="upper right")
lesson.figure(figure, "ripple", "Linear maps; left and middle at σ = 0.1 m. Place 0 is the centre of a bin, 0.5 its "
              "edge. Dotted: the formulas, from the first wave alone.",
              alt="Left: two waves. Middle: the peak falls at the edges. Right: errors fall steeply.")
lesson.say(f"At σ = 0.1 m the error is at most {100 * np.interp(0.1 / w, shares, heights['integral']):.1f} cm with "
           f"integrals and {100 * np.interp(0.1 / w, shares, heights['density']):.1f} cm with densities, which sample "
           f"where they should sum. At σ = w it is {np.interp(1.0, shares, heights['density']):.0e} m or less. "
           "That is what *exact* means here. At half a bin it is "
           f"{1e3 * np.interp(0.5, shares, heights['integral']):.1f} mm with integrals and "
           f"{1e3 * np.interp(0.5, shares, heights['density']):.1f} mm with densities.")

# %% [markdown]
# ## Turn it yourself
#
# Move the depth, σ and the number of bins. Without a running kernel you see four settings.

# %%
def draw(depth, sigma, bins, kind):
    edges, (mass, normalize) = depth_bins(bins, 1e-3, 80.0), KINDS[kind]
    one = torch.full((1, 1, 1, 1), depth).double()
    maps = depth_probability_map(one, edges, sigma, mass=mass, normalize=normalize)
    back = expected_depth(maps, edges).item()
    figure, axis = figures.new_figure(height=2.3)
    axis.stairs(maps.flatten(), edges, fill=True, color=figures.COLOURS[0], alpha=0.6)
    axis.axvline(depth, color="0.3", ls=":", label=f"depth {depth:g} m")
    axis.axvline(back, color=figures.COLOURS[1], label=f"decodes to {back:.2f} m")
    axis.set(xlabel="depth (m)", ylabel="probability", xlim=(max(0, depth - 15), min(80, depth + 15)),
             title=f"{int(support(maps))} bins, peak {float(maps.max()):.3f}, entropy {float(entropy(maps)):.2f} of "
                   f"{math.log(int(support(maps))):.2f}")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure

# %%
explore(draw, {"depth": [0.5, 1.0, 3.0, 6.0, 10.0, 20.0, 40.0, 70.0, 79.0], "sigma": [0.1, 0.2, 0.5, 0.8, 1.5, 3.0],
               "bins": [40, 80, 257, 500], "kind": list(KINDS)},
        [{"depth": 3.0, "sigma": 0.8, "bins": 257, "kind": "integral, softmax (the paper)"},
         {"depth": 3.0, "sigma": 0.8, "bins": 257, "kind": "integral, linear"},
         {"depth": 20.0, "sigma": 0.2, "bins": 80, "kind": "integral, linear"},
         {"depth": 79.0, "sigma": 1.5, "bins": 257, "kind": "density, softmax (the code)"}],
        lesson=lesson, name="turn", caption="Depth {depth:g} m, σ = {sigma:g} m, {bins} bins: {kind}.",
        alt="The map of a depth of {depth:g} m with sigma {sigma:g} m and {bins} bins, {kind}.")

# %% [markdown]
# ## Which way round?
#
# Eq 5 compares the student's map $S$ with the teacher's $T$ by the Kullback-Leibler divergence. It has two directions:
#
# $$KL(S\,\|\,T) = \sum_i S_i \ln \frac{S_i}{T_i} \quad \text{(Eq 5)}, \qquad
# KL(T\,\|\,S) = \sum_i T_i \ln \frac{T_i}{S_i} \quad \text{(the code)} .$$
#
# (Eq 5 as printed has no sum over bins. Without it there is no divergence, so it must be meant.) The first is infinite
# wherever the student has any probability and the teacher has none. A softmax is never exactly zero, and the teacher
# has dropped most bins: **Eq 5 as printed is infinite for every student.** Some floor is needed. The library counts
# dropped bins as 10⁻¹⁶, the paper's own threshold.

# %%
def my_divergence(p, q):
    """KL(p || q) of each pixel, (B, K, H, W) each, where p has probability."""
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum(1)


at20, at23 = (torch.full((1, 1, 1, 1), depth).double() for depth in (20.0, 23.0))
teacher = depth_probability_map(at20, STREET, SIGMA)
student = 0.999 * depth_probability_map(at23, STREET, 1.5, normalize="linear") + 0.001 / 257
print("as printed:", my_divergence(student, teacher).item(), "· with the floor, equal to the library:",
      torch.allclose(my_divergence(student, teacher.clamp_min(1e-16)).mean(), dpm_loss(student, teacher)))
print("as in the code, equal to the library:", torch.allclose(
    my_divergence(teacher, student).mean(), dpm_loss(student, teacher, direction="teacher_student")))

# %% [markdown]
# ### The gradient
#
# The student has logits $x$, with $S_i = e^{x_i} / \sum_j e^{x_j}$. Differentiate: $\partial S_i / \partial x_k = S_i
# (\delta_{ik} - S_k)$, and so $\partial \ln S_i / \partial x_k = \delta_{ik} - S_k$. For the code's direction only
# $-\sum_i T_i \ln S_i$ depends on $x$:
#
# $$\frac{\partial\, KL(T\|S)}{\partial x_k} = -\sum_i T_i (\delta_{ik} - S_k) = S_k - T_k .$$
#
# For the paper's direction, $\partial (S_i \ln \frac{S_i}{T_i}) / \partial S_i = \ln\frac{S_i}{T_i} + 1$, and the ones
# cancel:
#
# $$\frac{\partial\, KL(S\|T)}{\partial x_k} = \sum_i \Big(\ln\frac{S_i}{T_i} + 1\Big) S_i (\delta_{ik} - S_k)
# = S_k \Big( \ln\frac{S_k}{T_k} - KL(S\|T) \Big) .$$

# %%
def my_gradient(logits, teacher, direction):
    share = logits.softmax(1)
    if direction == "teacher_student":
        return share - teacher
    apart = share.log() - teacher.clamp_min(1e-16).log()
    return share * (apart - (share * apart).sum(1, keepdim=True))


logits = torch.randn(1, 257, 1, 1, generator=generator, dtype=torch.float64).requires_grad_()
for direction in DIRECTIONS:
    slope, = torch.autograd.grad(dpm_loss(logits.softmax(1), teacher, direction=direction), logits)
    differences = torch.autograd.gradcheck(lambda x, d=direction: dpm_loss(x.softmax(1), teacher, direction=d), logits)
    print(f"{direction}: formula and autograd agree: {torch.allclose(slope, my_gradient(logits, teacher, direction))}"
          f" · finite differences agree: {differences}")

# %% [markdown]
# Read the formulas. In the code's direction every bin of the teacher pulls with $T_k$, wherever the student is. In the
# paper's direction the whole gradient is multiplied by $S_k$. Where the student has no probability nothing pulls. Let
# a student be wrong and sure of it: a bump at 26 m where the teacher says 20 m.

# %%
def bump(depth):
    return depth_probability_map(torch.full((1, 1, 1, 1), depth).double(), STREET, SIGMA, normalize="linear")


target, wrong = bump(20.0), bump(26.0).clamp_min(1e-12).log()
figure, axes = figures.new_figure(1, 3, height=2.5, sharex=True)
for index, (name, p) in enumerate((("teacher", target), ("student", wrong.softmax(1)))):
    axes[0].stairs(p.flatten(), STREET, fill=True, alpha=0.6, color=figures.COLOURS[index], label=name)
titles = {"teacher_student": "KL(T || S), the code's", "student_teacher": "KL(S || T), Eq 5"}
for axis, (direction, title) in zip(axes[1:], titles.items(), strict=True):
    axis.stairs(-my_gradient(wrong, target, direction).flatten(), STREET, fill=True, color="0.3")
    axis.set(xlabel="depth (m)", ylabel="minus gradient", title=title)
axes[0].set(xlabel="depth (m)", ylabel="probability", title="two maps", xlim=(15, 31), ylim=(0, 0.2))
axes[0].legend(loc="upper center", ncols=2)
lesson.figure(figure, "pulls", "Left: the teacher at 20 m, the student at 26 m. Middle and right: minus the gradient, "
              "that is, where the loss pushes each logit. Up is more. The scales differ.",
              alt="Two bumps; a gradient that raises the teacher's bins; and one that only reshapes the student's.")

# %% [markdown]
# The code's direction lifts the teacher's bins and lowers the student's. The paper's direction does nothing at 20 m: it
# only moves probability inside the student's own bump. Follow both downhill. And a third one: the code adds 10⁻⁷ to
# $S$ inside the logarithm, against infinities. Then the pull of a bin is $T_k\, S_k / (S_k + 10^{-7})$, and it is
# gone, too, where the student is surer than that.

# %%
def as_coded(share, teacher):
    """The divergence of the authors' code, restated."""
    return (teacher * (teacher / (share + 1e-7) + 1e-7).log()).sum(1).mean()


def descend(loss, start, steps, rate=2.0):
    """Decoded depth along plain gradient descent on one pixel's logits."""
    logits, path = bump(start).clamp_min(1e-12).log(), []
    for _ in range(steps):
        logits = logits.detach().requires_grad_()
        path.append(expected_depth(logits.detach().softmax(1), STREET).item())
        logits = logits - rate * torch.autograd.grad(loss(logits.softmax(1), target), logits)[0]
    return path

# %%
LOSSES = {"KL(T || S)": lambda s, t: dpm_loss(s, t, direction="teacher_student"), "KL(S || T), Eq 5": dpm_loss,
          "KL(T || S) with 10⁻⁷, the code": as_coded}
steps = lesson.pick(smoke=20, lab=300)
paths = {(name, start): descend(loss, start, steps) for name, loss in LOSSES.items() for start in (22.0, 26.0)}
figure, axes = figures.new_figure(1, 2, height=2.7, sharey=True)
for axis, start in zip(axes, (22.0, 26.0), strict=True):
    for index, name in enumerate(LOSSES):
        axis.plot(paths[name, start], ("-", "--", "-.")[index], color=figures.COLOURS[index], label=name)
    axis.axhline(20, color="0.4", ls=":")
    axis.set(title=f"a student that is sure of {start:g} m", xlabel="step")
axes[0].set_ylabel("decoded depth (m)")
axes[0].legend()
lesson.figure(figure, "descent", "Gradient descent on the logits of one pixel, teacher at 20 m (dotted).",
              alt="Near the teacher all three fall; from 26 m only the plain KL of teacher to student comes near.")

# %%
lesson.say("After " + f"{steps} steps from 26 m: " + "; ".join(
    f"{name} at **{path[-1]:.1f} m**" for (name, start), path in paths.items() if start == 26.0) + f". A student that "
    "begins undecided, as a fresh network does, has probability everywhere and meets none of this. One that was "
    "trained on something else first may.")

# %% [markdown]
# ## Without holding the map
#
# The teacher's map of a batch of two KITTI crops, 257 × 352 × 704, has 127 million entries: half a gigabyte. The
# authors' code makes it, the student's, and several more tensors of that size, and keeps what it needs for the way
# back. But the teacher's map is known in closed form. It is zero except in a **window** of some 43 bins around the
# depth. So:
#
# $$KL(T\|S) = \sum_{i \in \text{window}} T_i \big( \ln T_i - x_i \big) + \operatorname{logsumexp}(x) .$$

# %%
def my_fused(logits, depth, edges, sigma):
    """KL(T || S), T linear, from logits (K, N) and depths (N,); T is computed in the window only."""
    width, reach = edges[1] - edges[0], 8.5 * sigma
    count = int(2 * reach / width) + 2
    first = ((depth - reach - edges[0]) / width).long().clamp(0, len(edges) - 1 - count)
    bins = first + torch.arange(count)[:, None]  # (window, N)
    tail = torch.special.ndtr(torch.stack([edges[bins + 1] - depth, depth - edges[bins + 1], edges[bins] - depth,
                                           depth - edges[bins]]) / sigma)
    share = torch.where(edges[bins] > depth, tail[3] - tail[1], tail[0] - tail[2])
    share = torch.where(share < 1e-16, 0.0, share)
    share = share / share.sum(0)
    return ((share * (share.clamp_min(1e-16).log() - logits.gather(0, bins))).sum(0) + logits.logsumexp(0)).mean()

# %%
part = torch.where(view.mask, view.depth, 10.0)[..., ::4, ::4].double()
logits = torch.randn(1, 257, *part.shape[-2:], generator=generator, dtype=torch.float64)
mine = my_fused(logits[0].flatten(1), part.flatten(), STREET, SIGMA)
library = fused_dpm_loss(logits, part, STREET, SIGMA, normalize="linear", direction="teacher_student")
print("equal to the library:", torch.allclose(mine, library))

# %% [markdown]
# The library goes one step farther. The gradient is needed anyway, and it has the size of the logits. So it goes
# through the image in slabs of a few rows that fit into the processor's cache. It computes a slab's softmax, its part
# of the loss and its gradient in one go, and writes the gradient to where it belongs. No other tensor of that size ever
# exists. For the paper's direction every bin outside the window has $T = 10^{-16}$, and the same works.
#
# All eight settings, against autograd on the materialised maps:

# %%
def materialised(logits, depth, edges, sigma, *, mass, normalize, direction):
    maps = depth_probability_map(depth, edges, sigma, mass=mass, normalize=normalize)
    return dpm_loss(logits.softmax(1), maps, direction=direction)


def step(loss, logits, depth, **options):
    """The loss and its gradient."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, depth, STREET, SIGMA, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]

# %%
rows = []
for mass, normalize, direction in itertools.product(MASSES, NORMALIZATIONS, DIRECTIONS):
    options = {"mass": mass, "normalize": normalize, "direction": direction}
    exact, slope = step(materialised, logits, part, **options)
    row = {"map": f"{mass}, {normalize}", "direction": {"student_teacher": "KL(S || T)"}.get(direction, "KL(T || S)"),
           "loss": f"{exact:.4f}"}
    for dtype in (torch.float64, torch.float32):
        value, gradient = step(fused_dpm_loss, logits.to(dtype), part.to(dtype), **options)
        name = str(dtype).removeprefix("torch.")
        row[f"value, {name}"] = f"{float((value / exact - 1).abs()):.0e}"
        row[f"gradient, {name}"] = f"{float((gradient - slope).abs().max() / slope.abs().max()):.0e}"
    rows.append(row)
lesson.table(pd.DataFrame(rows), "equal", "The fused loss against float64 autograd on both maps: relative difference "
             "of the value, and largest difference of a gradient entry relative to the largest entry.")

# %% [markdown]
# Now what it costs. A counter of living tensors, and processor seconds, in turns.

# %%
class Held(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is on and are alive at the same time."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return made

# %%
shape = lesson.pick(smoke=(16, 32), lab=(176, 352))
big = torch.randn(1, 257, *shape, generator=generator)
where = 1 + 78 * torch.rand(1, 1, *shape, generator=generator)


def coded(logits, depth, edges, sigma):
    """Both maps, as the authors' code makes them, restated."""
    centres = bin_centres(edges).float()[:, None, None]
    density = torch.exp(-(centres - depth).square() / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    return as_coded(logits.softmax(1), torch.where(density < 1e-16, -1000.0, density).softmax(1))


fused = lambda *arguments: fused_dpm_loss(*arguments, mass="density", direction="teacher_student")
calls = {name: (lambda loss=loss: step(loss, big, where)) for name, loss in (("maps", coded), ("fused", fused))}

# %%
held = {}
for name, call in calls.items():
    with Held() as counter:
        call()
    held[name] = counter.most / (4 * big.numel())
taken = time_in_turns(calls, rounds=lesson.pick(smoke=1, lab=3))
times, (low, high) = ratio_interval(taken["maps"], taken["fused"])
lesson.say(f"Logits 1 × 257 × {shape[0]} × {shape[1]}, loss and gradient. Both maps: {1e3 * min(taken['maps']):.0f} "
           f"ms, and {held['maps']:.1f} times the size of the logits is held at once. Fused: "
           f"{1e3 * min(taken['fused']):.0f} ms (**{times:.1f} times** less, middle half of the rounds {low:.1f} to "
           f"{high:.1f}), and **{held['fused']:.2f} times**, of which the logits and their gradient are 2.")

# %% [markdown]
# At the paper's size the gap is wider: tensors of half a gigabyte must be fetched from the system, page by page, each
# time. `python benchmarks/dpm_loss.py` measures it there, with one thread and with all, and the memory of the process.
#
# ## What we had to decide
#
# - **Integral or density.** The paper's text is the library's default, the authors' code a switch.
# - **σ is in metres**, as in the code. Counted in bins, 0.8 would be 25 cm on KITTI.
# - **Depths outside the bins** count as the nearest edge. A teacher may say 81 m.
# - **The threshold** compares an integral (a number) or a density (one over metres) with the same 10⁻¹⁶. So the code's
#   map depends on the unit of depth, by a bin or so.
# - **Dropped bins** in the paper's direction. Here is what other floors would give, and what 10⁻⁷ inside costs.

# %%
undecided = depth_probability_map(part + 1.0, STREET, 3.0, normalize="linear").clamp_min(1e-6)
undecided = undecided / undecided.sum(1, keepdim=True)
maps = {mass: depth_probability_map(part, STREET, SIGMA, mass=mass) for mass in MASSES}
centimetres = depth_probability_map(100 * part, 100 * STREET, 100 * SIGMA, mass="density")
decided = [("KL(S || T), floor 10⁻¹⁶", dpm_loss(undecided, maps["integral"]), "floor 10⁻⁷",
            my_divergence(undecided, maps["integral"].clamp_min(1e-7)).mean()),
           ("KL(T || S), exact", dpm_loss(undecided, maps["density"], direction="teacher_student"), "10⁻⁷ inside",
            as_coded(undecided, maps["density"])),
           ("bins kept, density in 1/m", support(maps["density"]).double().mean(), "density in 1/cm",
            support(centimetres).double().mean()),
           ("bins kept, integral", support(maps["integral"]).double().mean(), "density in 1/m",
            support(maps["density"]).double().mean())]

# %%
lesson.table(pd.DataFrame([(a, f"{x:.3f}", b, f"{y:.3f}") for a, x, b, y in decided],
                          columns=["ours", "value", "otherwise", "value then"]), "decided",
             "One street; a student that says a wide bump one metre too far. In centimetres a density is a hundredth "
             "of what it is in metres: other bins fall, and the softmax is flatter.")

# %% [markdown]
# Where the authors' code differs from the paper, in short: density for integral; KL(T || S) for KL(S || T); 10⁻⁷ inside
# the logarithm; and in the combined loss a σ of 0.5 m, whatever is set. None of it changes the picture above. The
# softmax, which both share, does.
#
# ## Verdict

# %%
share = {kind: [] for kind in KINDS}
for kind, (mass, normalize) in KINDS.items():
    depth = streets.depth[streets.mask][:: lesson.pick(smoke=50, lab=400)].double().clamp(1e-3, 80).view(1, 1, 1, -1)
    likeliest = depth_probability_map(depth, STREET, SIGMA, mass=mass, normalize=normalize).argmax(1)
    share[kind] = float((likeliest == torch.bucketize(depth[:, 0], STREET) - 1).double().mean())
text, near = "integral, softmax (the paper)", float((streets.depth[streets.mask] < 8.2 * SIGMA).double().mean())
safe = GRID[(GRID > 9 * SIGMA) & (GRID < 80 - 9 * SIGMA)]
off = {kind: float((decode(safe, STREET, SIGMA, kind) - safe).abs().max()) for kind in KINDS}

# %%
good, varied = (found[f"choi2024-sec4.5.4-{name}"] for name in ("good", "varied"))
rows = [
    ("the bin with the highest value corresponds to the actual depth", "Section 3.2",
     f"**holds**: at {100 * min(share.values()):.1f} % of the pixels, in each of the four maps"),
    ("the cut-off mitigates the dilution of the core", "Section 3.2", "**holds only if** compared with no cut-off: "
     f"{100 * paper[1]:.0f} % against {100 * paper[0]:.1f} %, of 68 % in Eq 1"),
    ("(taken for granted) Eq 3 gives back the depth of which the map was made", "Eq 1–3", "**holds only if** the depth is "
     f"more than some 8 σ from both ends (then to {100 * off[text]:.0f} cm); {100 * near:.0f} % of the streets' pixels are not"),
    ("Eq 5 measures the divergence of student and teacher", "Eq 5", "**holds only if** bins that the cut-off dropped "
     "are given a floor; as printed it is infinite"),
    ("a σ of 0.1 m generally yields good performance", "Section 4.5.4", f"**{good}** by Table 7"),
    ("the best σ differs from metric to metric", "Section 4.5.4", f"**{varied}** in Table 7")]
lesson.say("\n".join(["| claim | place | verdict |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]))

# %%
back = {kind: f"{decode(three, STREET, SIGMA, kind).item():.2f}" for kind in KINDS}
boxed = int(support(depth_probability_map(torch.full((1, 1, 1, 1), 30.0), STREET, SIGMA)))
lesson.say(f"""The map is what it says, a picture of how likely each bin is, if it is **divided by its sum**: then 3 m
come back as {back['integral, linear']} m. With the softmax of the paper and its code it is a box of {boxed} bins of
nearly equal height, and 3 m come back as {back[text]} or {back[code]} m. One logarithm makes the difference. Whether a
trained student suffers from it, with a second loss at its side that sees the teacher's depth, is an experiment:
notebook 11.""")

# %% [markdown]
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. Far out.** Return the *logarithm* of each bin's share of the Gaussian. The edges are in float32, and some bins
# lie eight σ from the depth. `torch.erfc` helps.

# %%
def my_log_mass(edges, depth, sigma):
    """(K,) natural logarithms, from edges (K+1,)."""
    # <solution>
    z = (edges - depth) / sigma
    tail = torch.erfc(z.abs() / 2**0.5) / 2
    left, right = tail[:-1], tail[1:]
    holds = (z[:-1] < 0) & (z[1:] >= 0)
    return torch.where(holds, 1 - left - right, (left - right).abs()).log()
    # </solution>


check.log_bin_mass(my_log_mass)

# %% [markdown]
# **2. There and back.** Write the authors' map (density, cut-off, softmax) and return the depths that it decodes to.

# %%
def my_decode(depth, edges, sigma):
    """Metres (N,), from metres (N,) and edges (K+1,)."""
    # <solution>
    centres = ((edges[1:] + edges[:-1]) / 2)[:, None]
    density = torch.exp(-((centres - depth) / sigma)**2 / 2) / (sigma * math.sqrt(2 * math.pi))
    return (centres * density.masked_fill(density < 1e-16, -torch.inf).softmax(0)).sum(0)
    # </solution>


check.authors_decode(my_decode)

# %% [markdown]
# **3. Both gradients.** Return the gradient by the logits of one pixel, for `"teacher_student"` and
# `"student_teacher"`. Here the teacher has probability in every bin.

# %%
def my_logit_gradient(logits, teacher, direction):
    """(K,), from (K,) and (K,)."""
    # <solution>
    student = logits.softmax(0)
    if direction == "teacher_student":
        return student - teacher
    apart = student.log() - teacher.log()
    return student * (apart - (student * apart).sum())
    # </solution>


check.divergence_gradient(my_logit_gradient)

# %% [markdown]
# **4. How narrow may it be?** For a linear map of integrals, return the σ at which the ripple of the decode is exactly
# `tolerance` high. Use the first wave.

# %%
def my_sigma(width, tolerance):
    """Metres."""
    # <solution>
    return width / math.pi * math.sqrt(math.log(width / (math.pi * tolerance)) / 2)
    # </solution>


check.ripple_sigma(my_sigma)

# %% [markdown]
# **5. Through the window.** KL(T || S) of one pixel, given the student's logits over all bins, the number of the first
# bin that the teacher has not dropped, and the teacher's probabilities from there on.

# %%
def my_window_divergence(logits, first, teacher):
    """A scalar, from (K,), an int and (n,)."""
    # <solution>
    log_share = logits[first:first + len(teacher)] - logits.logsumexp(0)
    return (teacher * (teacher.log() - log_share)).sum()
    # </solution>


check.window_divergence(my_window_divergence)

# %% [markdown]
# **6. Open.** A linear map still errs within a few σ of the ends. Find a map that decodes exactly at *every* depth of
# the range and is as wide as the Gaussian in the middle. (One way: move the middle of the Gaussian until the mean is
# right. How far must it move at 5 cm, and what does the map look like?) There is no list of answers.
#
# ## What to read next
#
# - Choi, Choi, Kim, 2024 (arXiv 2402.14340): the paper of this notebook and the next two.
# - Diaz and Marathe, CVPR 2019, *Soft labels for ordinal regression*: the softmax of *minus a distance*, which has the
#   logarithm in the right place.
# - Imani and White, ICML 2018 (arXiv 1806.04613): regression by a histogram of a Gaussian, integrals over bins divided
#   by their sum, as in our linear map, and why it trains well.
# - Bhat et al., CVPR 2021 (arXiv 2011.14141): AdaBins, where the weighted sum of Eq 3 comes from, and the paper's
#   favourite teacher.
# - In this course: notebook 11 distils with these maps, notebook 12 varies α and σ with several seeds.
