# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 04 · Dissection and interpretable units
#
# A depth network has thousands of units. Does a single one of them mean anything? You et al.
# ([you2021](https://arxiv.org/abs/2108.05312)) say that some do: they are active at one range of depth and silent at
# the others. And the paper says that one can have more of them. Give every unit a depth range of its own, reward it
# for answering there, and train as before. Its abstract promises to be "largely improving the depth selectivity of
# their units, while not harming or even improving the depth estimation accuracy".
#
# The supplement shows this in ten figures and not one number. Figures 1 to 8 draw the response of every unit to every
# depth, baseline on the left, "our interpretable counterpart" on the right. Figures 9 and 10 show what selective units
# look at.
#
# **Three questions.** Are the units of the counterpart more selective, and by how much? What does it cost in accuracy?
# And one that the figures do not ask: if a selective unit falls silent, is it *its* depth range that suffers?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import time

import pandas as pd
import torch
import torch.nn.functional as F

from mdelib import course, dissection_figures, evaluation, figures, models, papers, verdicts
from mdelib.complexity import time_in_turns
from mdelib.dissection import own_range_advantage
from mdelib.dissection_figures import UnitView, stored_table
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.selectivity import (ResponseMeter, assigned_bins, assigned_selectivity, bin_labels, bin_weights,
                                depth_bin_edges, depth_selectivity, expected_selectivity, response_table, unit_bins)
from mdelib.widgets import explore

lesson = course.start("04", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## First the picture: one unit
#
# The network is Hu et al.'s CNN, the one of notebooks 02 and 03. The paper dissects the last layer of its decoder,
# **D**, and the fusion of its four scales, **MFF**. Both speak directly to the layers that draw the depth map. Here
# are a view, its true depth, and the map of one unit of MFF: the one that the next section will call the most
# selective.
#
# `lesson.results` loads this notebook's trainings, or makes those that are missing. They take minutes, and networks
# that are minutes old are a poor sight. The reference study, further down, trained longer.

# %%
LAYERS = {"hu": {"decoder": "D", "mff": "MFF"},
          "bts": {"decoder.upconv1": "upconv1", "decoder.iconv1": "iconv1"}}
results = lesson.results("dissection")
views = lesson.views("test")
edges = stored_table(next(run for run in results if run.variant == "hu"), "edges")
K = len(edges) - 1


# %%
def features_of(network, layers, image):
    """The maps of some layers for some images, (B, U, h, w) each, and the predicted depth."""
    kept = {name: [] for name in layers}
    hooks = [network.get_submodule(name).register_forward_hook(
        lambda _module, _inputs, maps, name=name: kept[name].append(maps.detach().cpu())) for name in layers]
    depth = evaluation.predict(network, image)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in kept.items()}, depth


# %%
baseline = lesson.network("dissection", "hu")
few = views[lesson.pick(smoke=[0, 1, 2], lab=[3, 18, 41, 60, 77, 90])]
maps, predicted = features_of(baseline, LAYERS["hu"], few.image)
table = response_table(baseline, list(LAYERS["hu"]), views, edges, empty="nan")
unit = int(depth_selectivity(table["mff"]).argmax())
figure, axes = figures.new_figure(1, 3, height=2.3)
figures.show_image(axes[0], few.image[0], "a view")
figures.show_depth(axes[1], few.depth[0], "its true depth (near is bright)", mask=few.mask[0],
                   limits=(float(edges[1]), float(few.depth[0].max())))
dissection_figures.show_activation(axes[2], maps["mff"][0, unit], f"unit {unit} of MFF (active is bright)")
lesson.figure(figure, "one_unit", "One unit beside the depth it helps to draw.",
              alt="A view of a room, its depth map, and the activation map of one unit.")

# %% [markdown]
# ## What does it answer to?
#
# Cut depth into bins. The bins of the paper's code grow with distance: the first takes all that is nearer than 0.75 m,
# the others are equal steps of a logarithm up to 10 m. The **response** of unit $k$ to bin $d$ is its mean activation
# over all pixels, of all views, whose true depth lies in that bin. The unit's map is first enlarged to the depth map:
#
# $$R_{k,d} = \frac{1}{|\{p : t_d < D_p \le t_{d+1}\}|} \sum_{p\,:\,t_d < D_p \le t_{d+1}} (\mathrm{up}\, f_k)_p .$$

# %%
def plain_table(features, depth, mask, edges):
    """R (U, K) from the definition: unit by unit, bin by bin."""
    size, units, bins = depth.shape[-2:], features.shape[1], len(edges) - 1
    table = torch.full((units, bins), torch.nan, dtype=torch.float64)
    for k in range(units):
        unit = F.interpolate(features[:, k:k + 1].double(), size, mode="bilinear", align_corners=False)
        for d in range(bins):
            inside = (depth > edges[d]) & (depth <= edges[d + 1]) & mask
            table[k, d] = unit[inside].mean()
    return table


plain = plain_table(maps["mff"], few.depth, few.mask, edges)
library = response_table(baseline, "mff", few, edges, empty="nan")["mff"]
print("equal to the library:", torch.allclose(plain, library, rtol=1e-5, atol=1e-6, equal_nan=True))

# %%
figure, axes = figures.new_figure(1, 3, height=2.7, sharey=True)
ranked = depth_selectivity(table["mff"]).argsort(descending=True)
for axis, k in zip(axes, ranked[[0, len(ranked) // 2, -1]].tolist()):
    dissection_figures.response_bars(axis, table["mff"][k], edges)
    axis.set_title(f"unit {k}: DS = {float(depth_selectivity(table['mff'])[k]):.2f}")
for axis in axes[1:]:
    axis.set_ylabel("")
lesson.figure(figure, "responses", "The most selective unit of MFF, a middle one, and the least selective: mean "
              "activation per bin, over all test views. Orange: its strongest bin.",
              alt="Three bar charts of mean activation over depth bins.")

# %% [markdown]
# The number above each chart is the **depth selectivity** of notebook 03: the contrast between the strongest bin and
# the mean of all others, $DS = (R^{max} - \bar R^{-max}) / (R^{max} + \bar R^{-max})$, from the sizes of the
# responses. 0 is no preference, 1 is one bin only.
#
# And this is a whole network, in the manner of the supplement: every line is a unit, every column a bin. Units are
# sorted by the bin they like best. A network of selective units would draw a thin diagonal.

# %%
panels = {"": {title: table[layer] for layer, title in LAYERS["hu"].items()}}
lesson.figure(dissection_figures.dissection_maps(panels, edges), "baseline_units",
              "Every unit of both layers, over all test views. Grey: bins without a pixel in this data.",
              alt="Heat maps of units by depth bins for layers D and MFF.")

# %% [markdown]
# Most lines are wide. Many units say "near" or "far"; few say "two metres". Neighbours in the list look alike: several
# units answer alike.
#
# ## The same table without the loop
#
# The loop above enlarges every map and then looks at every pixel once for every bin. There is a better way, and it
# costs one idea. Enlarging is linear: $\mathrm{up}\, f = A f$. So the sum over the pixels of bin $d$, with $1_d$ the
# map that is 1 inside the bin and 0 outside, is
#
# $$1_d^\top (A f) = (A^\top 1_d)^\top f .$$
#
# Do not enlarge the features to the labels. Bring the labels down to the features, once, and use them for every unit
# of every layer. $A^\top$ is called the adjoint. It needs no new code: it is the gradient of the enlargement.

# %%
def labels_brought_down(labels, bins, size):
    """A^T applied to the indicator map of each bin: (B, K, h, w)."""
    indicator = F.one_hot(labels + 1, bins + 1)[..., 1:].movedim(-1, 1).double()
    small = torch.zeros(len(labels), bins, *size, dtype=torch.float64, requires_grad=True)
    large = F.interpolate(small, labels.shape[-2:], mode="bilinear", align_corners=False)
    return torch.autograd.grad((large * indicator).sum(), small)[0]


labels = bin_labels(few.depth, edges, few.mask)
ours = labels_brought_down(labels, K, maps["mff"].shape[-2:])
print("equal to the library:", torch.allclose(ours.flatten(2), bin_weights(labels, K, maps["mff"].shape[-2:])))
sums = torch.einsum("bkhw,buhw->uk", ours, maps["mff"].double())
pixels = torch.bincount(labels[labels >= 0], minlength=K)
print("the same table:", torch.allclose(sums / pixels, plain, rtol=1e-9, equal_nan=True))

# %%
units, bins, small, large = lesson.pick(smoke=(4, 8, (12, 16), (48, 64)), lab=(64, 64, (57, 76), (228, 304)))
random_maps, many = torch.randn(1, units, *small), depth_bin_edges(bins, 0.75, 10.0)
random_depth = 10 * F.interpolate(torch.rand(1, 1, 6, 8), large, mode="bilinear")

# %%
ways = {"loop": lambda: plain_table(random_maps, random_depth, random_depth > 0, many),
        "library": lambda: ResponseMeter(many).update(random_maps, random_depth).compute("nan")}
tries = time_in_turns(ways, rounds=3, warm_up=0, clock=time.perf_counter)
slow, quick = min(tries["loop"]), min(tries["library"])
lesson.say(f"{units} units, {bins} bins, maps of {small[0]} × {small[1]} on depth of {large[0]} × {large[1]}: the "
           f"loop took {1e3 * slow:.0f} ms, the library {1e3 * quick:.1f} ms on this machine, "
           f"**{slow / quick:.0f} times** less.")

# %% [markdown]
# ## How selective is that?
#
# Two lines to compare with, both from notebook 03. The dotted one is the expectation for responses that are uniformly
# random, close to the paper's 1/3. The dashed one is the better control: the same units, but each view is paired with
# the depth map of *another* view. What is left there comes from the place in the image (floors are low and near), and
# from rare depths, whose few pixels give noisy means. Where the two curves cannot be told apart, DS says nothing that
# the place in the image would not say.

# %%
control = response_table(baseline, list(LAYERS["hu"]), views, edges, empty="nan", shuffle="images")
known = int((~table["mff"].isnan().any(0)).sum())
panels = {title: {"units": ([depth_selectivity(table[layer])], [depth_selectivity(control[layer])])}
          for layer, title in LAYERS["hu"].items()}
lesson.figure(dissection_figures.selectivity_curves(panels, expected=expected_selectivity(known)),
              "baseline_selectivity", f"Selectivity of every unit, sorted. {known} of {K} bins hold pixels.",
              alt="Falling curves of unit selectivity with the shuffled control and a dotted line at one third.")
for title, curves in panels.items():
    (real,), (shuffled,) = curves["units"]
    lesson.say(f"Layer {title}: mean DS {real.mean():.2f}, with shuffled depth {shuffled.mean():.2f}.")

# %% [markdown]
# ## Units with a task
#
# Now the paper's method. Unit $k$ of $U$ is **assigned** bin $\lfloor k K / U \rfloor$. Training rewards it for
# preferring that bin, within each batch:
#
# $$L = L_{depth} - 0.1 \sum_{layers} \frac{1}{U} \sum_k
#   \frac{R_{k,a(k)} - \bar R_{k,-a(k)}}{R_{k,a(k)} + \bar R_{k,-a(k)}} .$$
#
# Three details come from the authors' code. $R$ is the mean of $|activation|$. The bin is the assigned one, not the
# best one, so the contrast can be negative. And a unit whose bin does not occur in the batch counts as 0.

# %%
def my_assigned_selectivity(features, labels, bins):
    units = len(features[0])
    large = F.interpolate(features, labels.shape[-2:], mode="bilinear", align_corners=False).abs()
    present = [d for d in range(bins) if (labels == d).any()]
    response = {d: large.movedim(1, -1)[labels == d].mean(0) for d in present}  # (U,) each
    contrast = torch.zeros(units)
    for k in range(units):
        own = k * bins // units
        if own in present and len(present) > 1:
            others = sum(response[d][k] for d in present if d != own) / (len(present) - 1)
            contrast[k] = (response[own][k] - others) / (response[own][k] + others + 1e-15)
    return contrast


mine = my_assigned_selectivity(maps["mff"], labels, K)
print("equal to the library:", torch.allclose(mine, assigned_selectivity(maps["mff"], labels, K), atol=1e-5))

# %% [markdown]
# `SelectivityRegulariser` is this, on top of any loss; forward hooks catch the features, so network and training loop
# stay as they are. `experiments/dissection.yaml` trains both networks with and without it: same views, same seeds,
# same steps. The paper's weight of 0.1 had 60,000 steps to act; ours has a fortieth of them, so a tenfold weight
# stands beside it. (At lab scale, with three epochs, it stands there alone.) The panels below differ in nothing else.

# %%
DISSECTED = {**LAYERS, "senet": {"decoder": "D, SENet-154", "mff": "MFF, SENet-154"}}
PAIR = {network: {network: "baseline", f"{network}_interpretable": "weight 0.1",
                  f"{network}_interpretable_strong": "weight 1"} for network in DISSECTED}
study = lesson.reference("dissection")


def of(runs, network):
    return [run for run in runs if run.variant in PAIR[network]]


def drawn(runs, network, split):
    """The stored response tables of one seed: layer -> title of a panel -> (U, K)."""
    one = {run.variant: run for run in reversed(runs)}
    return {title: {word: stored_table(one[variant], f"response/{layer}/{split}")
                    for variant, word in PAIR[network].items() if variant in one}
            for layer, title in DISSECTED[network].items()}


# %%
lesson.figure(dissection_figures.dissection_maps(drawn(results, "hu", "test"), edges), "hu_units",
              f"Hu et al. on {lesson.info.title}, test views: baseline and interpretable counterparts, one seed.",
              alt="Heat maps of units by depth bins, baseline beside interpretable, for D and MFF.",
              sources=of(results, "hu"))

# %% [markdown]
# The training behind these pictures took minutes. The reference study trained longer, on real photographs, with
# several seeds. Compare the pictures with the supplement's Figures 1 and 2.

# %%
def curve(runs, variant, layer):
    """Selectivities of all units and of their control, a tensor for each seed."""
    mine = [run for run in runs if run.variant == variant]
    return ([depth_selectivity(stored_table(run, f"response/{layer}/test")) for run in mine],
            [stored_table(run, f"shuffled/{layer}/test") for run in mine])


def curves_of(runs, network):
    return {title: {word: curve(runs, variant, layer) for variant, word in PAIR[network].items()
                    if any(run.variant == variant for run in runs)} for layer, title in DISSECTED[network].items()}


# %%
def show_study(network, supplement, reference=study, place="NYU", tag="nyu"):
    """The study's dissection on both splits, and its selectivity curves; `supplement`: split -> the paper's figure."""
    runs = of(reference, network)
    if not runs:
        return lesson.say(f"The reference study of this network on {place} is not yet made: `make study` makes it.")
    bins = stored_table(runs[0], "edges")
    for split, number in supplement.items():
        lesson.figure(dissection_figures.dissection_maps(drawn(runs, network, split), bins), f"{network}_{split}_{tag}",
                      f"{place}, {split} images, one seed; in the supplement: Figure {number}.", sources=runs,
                      alt=f"Heat maps of units by depth bins on {place}, baseline beside interpretable.")
    lesson.figure(dissection_figures.selectivity_curves(curves_of(runs, network), expected=expected_selectivity(
        len(bins) - 1)), f"{network}_selectivity_{tag}", f"{place}, test images: sorted selectivities, a line for each "
                  "seed; dashed: with shuffled depth, mean over seeds.", sources=runs,
                  alt=f"Sorted selectivity curves on {place} with their shuffled controls.")


show_study("hu", {"train": 1, "test": 2})

# %% [markdown]
# The supplement's Figures 3 and 4 ask the same of a larger encoder, SENet-154, under the same decoder.

# %%
show_study("senet", {"train": 3, "test": 4})

# %% [markdown]
# ## Do the units keep to their task?
#
# A unit was assigned a bin in training. Does it answer there on the test views? The figure has a dot for each unit: to
# the right its assigned bin, upwards the centre of its response. In the baseline nobody assigned anything, so the dots
# have no reason to rise.

# %%
runs, place = (study, "NYU, reference study") if of(study, "hu") else (results, lesson.info.title)
panels = {title: {word: [stored_table(run, f"response/{layer}/test") for run in runs if run.variant == variant]
                  for variant, word in PAIR["hu"].items()} for layer, title in LAYERS["hu"].items()}
lesson.figure(dissection_figures.task_plot(panels, stored_table(of(runs, "hu")[0], "edges")), "task",
              f"Assigned bin and centre of the response, {place}; a dot for each unit and seed.",
              alt="Scatter plots of the centre of each unit's response against its assigned bin, for D and MFF.",
              sources=of(runs, "hu"))

# %% [markdown]
# In numbers: the rank correlation of both, and the share of units whose *best* bin is exactly, or nearly, the assigned
# one. A best bin drawn at random would be right for about one unit in sixteen, and right or next to it for one in six.
# Units whose bin holds no pixel (grey above) had no task; they count as misses.

# %%
def task_rows(runs, place):
    rows = []
    for run in runs:
        network = run.variant.split("_")[0]
        for layer, title in DISSECTED[network].items():
            response = stored_table(run, f"response/{layer}/test")
            assigned, centre = assigned_bins(*response.shape), dissection_figures.response_centre(response)
            far = (unit_bins(response) - assigned).abs()
            rank = pd.Series(assigned).corr(pd.Series(centre), method="spearman")
            rows.append({"on": place, "layer": title, "units": PAIR[network][run.variant],
                         "rank correlation": rank, "best bin exact": float((far == 0).double().mean()),
                         "within one bin": float((far <= 1).double().mean())})
    return rows


# %%
tasks = pd.DataFrame(task_rows(results, lesson.info.title) + task_rows(study, "NYU, reference study"))
tasks = tasks.groupby(["on", "layer", "units"]).mean().reset_index()
lesson.table(tasks, "tasks", "Do units answer at the bin that they were assigned? Test views, mean over seeds.",
             sources=[*results, *study])

# %% [markdown]
# ## What do they look at?
#
# Figures 9 and 10 of the supplement: a view, the mask of the pixels whose *predicted* depth lies in the unit's range,
# and the unit's map. If the unit does what its range says, the second and the third picture agree. We show up to four
# units of MFF that are most selective among those whose range is predicted on at least a twentieth of a view, each on
# the view where it is predicted most. Not more than two have the same range.
#
# Three epochs make poor pictures. The pack ships two networks that had fifteen: `rooms_hu`, the baseline, and
# `rooms_hu_interpretable`, trained with weight 1. The rest of this section looks at those; on other data than
# rendered rooms it looks at this notebook's own.

# %%
def well_trained(variant, shipped):
    """The network that the pack ships for rendered rooms; elsewhere this notebook's own."""
    if data != "scenes-rooms":
        return lesson.network("dissection", variant)
    return models.create_model("hu_resnet50", weights=shipped).to(lesson.device)


longer = {"baseline": well_trained("hu", "rooms_hu"),
          "weight 1": well_trained("hu_interpretable_strong", "rooms_hu_interpretable")}
better = {name: response_table(network, list(LAYERS["hu"]), views, edges, empty="nan")
          for name, network in longer.items()}


# %%
def selective_views(network, layer, response, edges, count=4, least=0.05):
    """The most selective units, at most two for a bin, each on the view with most predicted pixels in its bin."""
    maps, depth = features_of(network, [layer], views.image[:lesson.pick(smoke=4, lab=60)])
    share = torch.stack([((depth > near) & (depth <= far)).flatten(1).double().mean(1)
                         for near, far in zip(edges, edges[1:])])  # (K, views)
    chosen, own, ds = [], unit_bins(response).tolist(), depth_selectivity(response)
    for k in sorted(range(len(own)), key=lambda k: (share[own[k]].max() < least, -ds[k])):
        place = sum(shown.own == own[k] for shown in chosen)  # how many have this bin already
        v = int(share[own[k]].argsort(descending=True)[place]) if place < 2 else 0
        if place < 2 and len(chosen) < count and (share[own[k], v] >= least or not chosen):
            chosen.append(UnitView(views.image[v], depth[v], maps[layer][v, k], edges, own[k], f"unit {k}"))
    return sorted(chosen, key=lambda shown: shown.own)


# %%
for name, network in longer.items():
    seen = selective_views(network, "mff", better[name]["mff"], edges)
    lesson.figure(dissection_figures.unit_grid(seen), f"hu_maps_{name.replace(' ', '_')}",
                  f"{name.capitalize()}: view, mask of the pixels predicted in the unit's range (named above it), and "
                  "the unit's map.", alt="Groups of three pictures: a view, a white mask, and an activation map.")

# %% [markdown]
# On rendered rooms, some of the selective units of the second figure light up along the top of the picture, whatever is
# there. In these rooms that is where far things are. By the table they are selective for a depth; by the eye, for a
# place. The control with shuffled depth was made to tell the two apart; further down we use it.
#
# Choose for yourself. The second picture is the predicted depth inside the unit's strongest bin; everything else is
# grey.

# %%
captured = {name: features_of(network, LAYERS["hu"], few.image) for name, network in longer.items()}


def card(network, layer, unit, view):
    response = better[network][layer][unit]
    maps, depth = captured[network]
    own = int(unit_bins(response[None])[0])
    shown = UnitView(few.image[view], depth[view], maps[layer][view, unit], edges, own, f"unit {unit}")
    return dissection_figures.unit_card(shown, response)


# %%
def first_to_see(name):
    """The most selective unit of MFF whose range is predicted in these views, on the view where it is most."""
    response, depth = better[name]["mff"], captured[name][1]
    for unit in depth_selectivity(response).argsort(descending=True).tolist():
        own = int(unit_bins(response)[unit])
        share = ((depth > edges[own]) & (depth <= edges[own + 1])).flatten(1).double().mean(1)
        if share.max() > 0.01:
            break
    return {"network": name, "layer": "mff", "unit": unit, "view": int(share.argmax())}


explore(card, {"network": list(longer), "layer": list(LAYERS["hu"]), "unit": list(range(len(table["mff"]))),
               "view": list(range(len(few.image)))},
        [first_to_see(name) for name in longer], lesson=lesson, name="unit",
        caption="Unit {unit} of {layer}, {network}, on view {view}.",
        alt="A view, predicted depth in one range, a unit's map and its bars: unit {unit} of {layer}, {network}.")

# %% [markdown]
# ## Selectivity and accuracy, in numbers
#
# One row a network. `selectivity` is the mean over the units and the two layers, as the paper averages it; `shuffled`
# is its control.

# %%
TITLES = {variant: entry.title for variant, entry in load_experiment("dissection").variants.items()}
MEASURES = ["selectivity_train", "shuffled_train", "selectivity_test", "shuffled_test", "abs_rel", "rmse", "delta1"]
for runs, name, place in ((results, "numbers", lesson.info.title), (study, "numbers_nyu", "NYU, reference study")):
    if runs:
        lesson.table(verdicts.summary(runs, MEASURES, TITLES), name,
                     f"{place}: mean ± standard deviation over seeds. AbsRel and RMSE (m): lower is better.",
                     sources=runs)
    else:
        lesson.say(f"{place}: not yet made.")

# %% [markdown]
# Now the differences, paired: the same seed with and without the regulariser. Selectivity has one value a run, so its
# interval is Student's $t$ over seeds. Accuracy has one value a view, so its interval is a bootstrap over seeds and
# views. The claim about selectivity is the direction that the supplement's figures show. The row about accuracy is our
# question to the abstract's "not harming or even improving": *greater* AbsRel would be harm.

# %%
claims = [claim for claim in papers.load_claims("you2021") if claim.notebook == "04"]
question = papers.Claim(
    id="question", place="our question", states="the counterpart is as accurate", notebook="04",
    evidence=[papers.Evidence(experiment="dissection", measure="abs_rel", compare=(variant, name), direction="smaller")
              for name in LAYERS for variant in list(PAIR[name])[1:]])


def findings_of(runs):
    return [finding for claim in [*claims, question] for finding in verdicts.judge(claim, runs)]


findings, study_findings = findings_of(results), findings_of(study)
lesson.table(verdicts.findings_table(findings, results), "verdicts",
             f"On {lesson.info.title}. For accuracy, `agrees` means more accurate, `disagrees` less. n: seeds × views. "
             "One seed gives no verdict, whatever its interval.", sources=results)

# %%
if study_findings:
    lesson.table(verdicts.findings_table(study_findings, study), "verdicts_nyu",
                 "The same on real photographs, from the reference study.", sources=study)
else:
    lesson.say("On NYU: no pair of runs yet.")

# %% [markdown]
# A gain in selectivity means little if the control gains as much. So the table has three rows a pair: the gain of the
# units, the gain of their control, and the gain of the difference of both, **beyond control**.

# %%
KINDS = {"units": lambda m: m["selectivity_test"], "shuffled control": lambda m: m["shuffled_test"],
         "beyond control": lambda m: m["selectivity_test"] - m["shuffled_test"]}


def gains(runs, place):
    rows = []
    for network, variant in ((name, variant) for name in LAYERS for variant in list(PAIR[name])[1:]):
        sides = [{r.seed: r.metrics for r in runs if r.variant == side} for side in (network, variant)]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        for kind, measure in KINDS.items() if seeds else ():
            old, new = ([measure(side[s]) for s in seeds] for side in sides)
            gain, (low, high) = verdicts.seed_interval(new, old)
            span = f"{low:+.3f} to {high:+.3f}" if len(seeds) > 1 else "none from one seed"
            rows.append({"on": place, "network": TITLES[variant], "selectivity of": kind, "gain": gain,
                         "95 % interval": span, "seeds": len(seeds)})
    return rows


# %%
gained = pd.DataFrame(gains(results, lesson.info.title) + gains(study, "NYU, reference study"))
lesson.table(gained, "gains", "Interpretable minus baseline, test views: for the units, for their control, and for "
             "the difference of both.", sources=[*results, *study])

# %% [markdown]
# The control can gain too, and there is a reason. Depth follows the place in the image: the floor in front is near in
# almost every room. A unit that learns its range learns its place as well, and another view's depth map still fits
# that place. The units that light up along the top of the picture look like that. Such a gain is selectivity for
# *where*, not for *how far*. Only the third row speaks of depth itself, and only where its interval leaves out 0.

# %% [markdown]
# ## Silence a unit
#
# A unit that *answers* to two metres need not *matter* at two metres. To find out, set its map to zero everywhere and
# look at the depth map again. Each line below is one silent unit; each column is a depth bin, and its colour says by
# how much the error there grows (red) or shrinks (blue). The frame marks the bin to which the unit answers most. If
# selective units carried their own range, the red would sit in the frames.

# %%
def ablations(runs, network):
    """Panels of one seed: title -> (matrix, response)."""
    one = {run.variant: run for run in reversed(runs)}
    return {f"{word}, {LAYERS[network][layer]}": (stored_table(one[variant], f"ablation/{layer}"),
                                                 stored_table(one[variant], f"response/{layer}/test"))
            for variant, word in PAIR[network].items() if variant in one for layer in list(LAYERS[network])[:1]}


for runs, name, place in ((results, "ablation", lesson.info.title), (study, "ablation_nyu", "NYU, reference study")):
    if of(runs, "hu"):
        drawing = dissection_figures.ablation_maps(ablations(runs, "hu"), stored_table(of(runs, "hu")[0], "edges"))
        lesson.figure(drawing, name, f"{place}, layer D: the error in each bin with one unit silent, minus without. "
                      "Grey: bins without a pixel in the views that were used.",
                      alt="Red and blue matrices of silenced units by depth bins, with a frame in every line.",
                      sources=of(runs, "hu"))

# %% [markdown]
# One number for each unit: the mean growth of the error in its own range (its strongest bin and one to either side),
# minus the mean growth in all other bins. Above zero, silence hurts the unit's own range more. Two more: how often the
# bin that is hurt most lies in the unit's own range, beside how often it would if it were drawn at random; and whether
# more selective units have a larger advantage (rank correlation). For units that are zero elsewhere part of this is
# built in: a unit that gives nothing there has nothing to take away.

# %%
def ablation_measures(run, layer):
    matrix, response = stored_table(run, f"ablation/{layer}"), stored_table(run, f"response/{layer}/test")
    bins, own = torch.arange(matrix.shape[1]), unit_bins(response)[:, None]
    known = ~matrix.isnan()
    near = ((bins - own).abs() <= 1) & known
    worst = torch.nan_to_num(matrix, nan=-torch.inf).argmax(1)
    advantage = own_range_advantage(matrix, response)
    usable = ~advantage.isnan()
    rank = pd.Series(depth_selectivity(response)[usable]).corr(pd.Series(advantage[usable]), method="spearman")
    return {"advantage": float(advantage.nanmean()), "share above 0": float((advantage[usable] > 0).double().mean()),
            "worst bin is own": float(near.gather(1, worst[:, None]).double().mean()),
            "by chance": float((near.sum(1) / known.sum(1)).mean()), "rank correlation": rank}


# %%
def ablation_table(runs, place):
    """One row a network and layer: means over seeds, and the interval of the advantage."""
    rows = []
    for variant, title in TITLES.items():
        mine = [run for run in runs if run.variant == variant]
        for layer, name in DISSECTED[variant.split("_")[0]].items() if mine else ():
            found = pd.DataFrame([ablation_measures(run, layer) for run in mine])
            _, (low, high) = verdicts.seed_interval(found["advantage"], 0 * found["advantage"])
            rows.append({"on": place, "network": title, "layer": name, **found.mean(), "low": low, "high": high})
    return rows


# %%
silent = pd.DataFrame(ablation_table(results, lesson.info.title) + ablation_table(study, "NYU, reference study"))
spans = [f"{low:+.3f} to {high:+.3f}" if low == low else "none from one seed"
         for low, high in zip(silent["low"], silent["high"])]
shown = silent.drop(columns=["low", "high"])
shown.insert(4, "95 % interval", spans)
lesson.table(shown, "own_range", "Does a silent unit hurt its own depth range most? Advantage: growth of AbsRel "
             "inside minus outside; means over units and seeds.", sources=[*results, *study])

# %% [markdown]
# ## A second network: BTS
#
# The paper repeats everything with BTS (Lee et al., 2019). Its decoder guesses **planes**. A feature at 1/8 of the
# resolution stands for 8 × 8 pixels; it gives a normal $(n_1, n_2, n_3)$ and a distance $n_4$, and the plane is drawn
# over its patch, $\tilde c = n_4 / (n_1 u + n_2 v + n_3)$. So do features at 1/4 and 1/2. The last layer, **iconv1**,
# reads all three drawings and **upconv1**. Those two layers are dissected. They end in an ELU, so activations can be
# negative, down to −1.

# %%
planes = lesson.network("dissection", "bts")
drawings, depth = features_of(planes, ["decoder.lpg8", "decoder.lpg4", "decoder.lpg2"], few.image[:2])
figure, axes = figures.new_figure(2, 5, height=1.55)
for i, row in enumerate(axes):
    figures.show_image(row[0], few.image[i], "a view" if i == 0 else None)
    panels = {f"planes of {n} × {n}": 10 * drawings[f"decoder.lpg{n}"][i] for n in (8, 4, 2)}
    for axis, (name, drawing) in zip(row[1:], {**panels, "depth by BTS": depth[i]}.items()):
        low, high = (float(drawing.quantile(q)) for q in (0.02, 0.98))
        figures.show_depth(axis, drawing, name if i == 0 else None, limits=(low, high))
        axis.set_xlabel(f"{low:.1f} to {high:.1f} m")
lesson.figure(figure, "planes", "What the three plane layers draw, and what becomes of it; each picture has its own "
              "limits, written below it, and near is bright. No loss asks the drawings to be depth.",
              alt="A view, three plane drawings from coarse to fine, and the predicted depth.")

# %%
bts_edges = stored_table(of(results, "bts")[0], "edges")
lesson.figure(dissection_figures.dissection_maps(drawn(results, "bts", "test"), bts_edges), "bts_units",
              f"BTS on {lesson.info.title}, test views: baseline and interpretable counterparts, one seed.",
              alt="Heat maps of BTS units by depth bins, baseline beside interpretable.", sources=of(results, "bts"))
show_study("bts", {"train": 5, "test": 6})

# %% [markdown]
# Figures 7 and 8 dissect BTS on KITTI. KITTI may not be shipped with a course, so rendered streets stand in, with the
# paper's bins for KITTI: from 3 m to 80 m.

# %%
streets = lesson.reference("dissection", "scenes-streets")
show_study("bts", {"train": 7, "test": 8}, streets, "rendered streets", "streets")
words = [f"{row['selectivity of']} {row['gain']:+.3f} ({row['95 % interval']})" for row in gains(streets, "streets")]
if words:
    lesson.say(f"Interpretable minus baseline on the test views of rendered streets: {'; '.join(words)}.")

# %%
counterpart = lesson.network("dissection", "bts_interpretable_strong")
response = response_table(counterpart, "decoder.iconv1", views, bts_edges, empty="nan")["decoder.iconv1"]
seen = selective_views(counterpart, "decoder.iconv1", response, bts_edges)
lesson.figure(dissection_figures.unit_grid(seen), "bts_maps",
              "Selective units of iconv1, chosen as above. Red is positive, blue negative; in the "
              "supplement: Figure 10.",
              alt="Groups of three pictures: a view, a mask, and a signed activation map.")

# %% [markdown]
# With negative activations, "response" has two readings. The evaluation takes the size of the *mean*, the training the
# mean of the *size*. A unit that is strongly negative in one range and positive in another can look selective for one
# and not for the other.
#
# ## Are these the published networks?
#
# At `scale="paper"` the library builds them as published. Parameters can be counted without memory: on PyTorch's
# "meta" device a tensor has a shape and no numbers. The published counts are from Table 1 of huynh2021 (the first
# two) and from the BTS repository (the third, which includes a classifier of 2.05 M that no depth network uses).

# %% tags=["nbval-check-output"]
ROWS = (("Hu et al., SENet-154", "hu_senet154", {}, 157.0, 0),
        ("BTS, DenseNet-161", "bts", {}, 47.0, 0),
        ("BTS, ResNet-50", "bts", {"encoder": "resnet50"}, 49.5, 2.05),
        ("Hu et al., ResNet-50", "hu_resnet50", {}, None, 0))
for title, name, options, published, classifier in ROWS:
    with torch.device("meta"):
        network = models.create_model(name, scale="paper", **options)
    count = models.count_parameters(network) / 1e6 + classifier
    print(f"{title:22} {count:6.1f} M   published {f'{published:6.1f} M' if published else '  none'}")

# %% [markdown]
# ## What we had to decide
#
# - **Bins and units.** The paper has 64 bins for 64 units (Hu et al.), and 32 for 32 (BTS). We have 16 units a layer
#   and 16 bins, since our networks are an eighth and a quarter as wide. There is a second reason: our copy of NYU
#   stores depth in steps of 3.9 cm. Of 64 bins the nearest ones would be 3.8 cm wide, and some would stay empty.
# - **The loss.** Both networks train with SILog, the loss of BTS. In the paper, Hu et al.'s network has Hu et al.'s.
# - **The start.** Random weights and 96 × 128 pixels. The published networks began with ImageNet and saw larger images
#   (228 × 304 for Hu et al.). So read the difference between left and right, not the level.
# - **No crop.** As in the authors' code, NYU is scored on the whole image, without the Eigen crop. The numbers cannot
#   be set beside those of notebook 02.
# - **Which figures.** All ten are here. Figures 7 and 8 are on rendered streets, not on KITTI.
# - **Which activations.** As in the authors' code: signed means in the evaluation, sizes in the training.
#
# How much hangs on the bins? Here are the same trained networks under other choices. "Rare bins" are those with
# less than one pixel in a thousand: a mean over so few pixels, often from one view, is noisy, and DS looks for the
# largest.

# %%
def mean_selectivity(maps, edges, rare=0.0):
    """Mean DS of both layers; bins with a smaller share of pixels than `rare` are left out."""
    means = []
    for features in maps.values():
        meter = ResponseMeter(edges).update(features, some.depth, some.mask)
        common = meter.pixels >= rare * meter.pixels.sum()
        means.append(depth_selectivity(torch.where(common, meter.compute("nan"), torch.nan)).mean())
    return float(torch.stack(means).mean())


choices = {"16 bins, as trained": (edges, 0.0), "without rare bins": (edges, 1e-3),
           "8 bins": (depth_bin_edges(8, 0.75, 10.0), 0.0), "32 bins": (depth_bin_edges(32, 0.75, 10.0), 0.0),
           "16 equal bins": (depth_bin_edges(16, 0.0, 10.0, "uniform"), 0.0)}

# %%
some = views[list(range(min(len(views), 100)))]
kept = {word: features_of(lesson.network("dissection", variant), LAYERS["hu"], some.image)[0]
        for variant, word in PAIR["hu"].items() if variant in {run.variant for run in results}}
rows = [{"bins": name, **{word: mean_selectivity(maps, *choice) for word, maps in kept.items()}}
        for name, choice in choices.items()]
other = pd.DataFrame(rows).assign(gain=lambda frame: frame["weight 1"] - frame["baseline"])
lesson.table(other, "choices", "Mean selectivity on the test views under other bins; gain: weight 1 minus baseline.",
             sources=of(results, "hu"))

# %% [markdown]
# ## Verdict

# %%
def in_words(found):
    lines = []
    for f in found:
        what = "selectivity" if f.measure.startswith("selectivity") else "AbsRel"
        where = f.measure.removeprefix("selectivity_") if what == "selectivity" else "test"
        lines.append(f"- {TITLES[f.first]}, {what} ({where}): {f.difference:+.3f} ({f.span}), n = {f.count}: "
                     f"**{f.verdict}**")
    return "\n".join(lines)


lesson.say(f"Interpretable minus baseline, 95 % interval. On {lesson.info.title}:\n\n{in_words(findings)}")
lesson.say(f"On NYU, in the reference study:\n\n{in_words(study_findings)}" if study_findings else
           "On NYU, in the reference study: no pair of runs yet.")

# %%
for place, rows in gained[gained["selectivity of"] == "beyond control"].groupby("on", sort=False):
    words = "; ".join(f"{row['network']} {row['gain']:+.3f} ({row['95 % interval']})" for _, row in rows.iterrows())
    known = [span for span in rows["95 % interval"] if " to " in span]
    above = f" Intervals above zero: {sum(s.startswith('+') for s in known)} of {len(known)}." if known else ""
    lesson.say(f"{place}, selectivity on test views beyond the control of shuffled depth: {words}.{above}")
for place, rows in silent.groupby("on", sort=False):
    sure = "" if rows["low"].isna().all() else (f", with an interval above zero in {(rows['low'] > 0).sum()} "
                                              f"of the {rows['low'].notna().sum()} that have one")
    lesson.say(f"{place}: a silent unit hurts its own depth range more than the rest, on average, in "
               f"{(rows['advantage'] > 0).sum()} of {len(rows)} layers{sure}.")

# %% [markdown]
# A single seed gives no verdict, whatever the pictures look like. And selectivity is not usefulness: what a silent
# unit does to the depth map stands in the table above, not in DS.
#
# ## Exercises
#
# **1. Rare bins.** Write the selectivity with bins left out that hold fewer than `least` pixels. They must vanish
# both from the search for the largest and from the mean of the others. Before you run it: can leaving out a bin
# *raise* DS?

# %%
def my_robust_selectivity(response, pixels, least):
    """DS (U,) of responses (U, K), without the bins that hold fewer than `least` pixels; pixels is (K,)."""
    # <solution>
    size = response.abs()[:, pixels >= least]
    largest = size.max(1).values
    others = (size.sum(1) - largest) / (size.shape[1] - 1)
    return (largest - others) / (largest + others)
    # </solution>


check.robust_selectivity(my_robust_selectivity)

# %% [markdown]
# **2. Own range.** From an ablation matrix and the bin of each unit, compute the advantage of the section above: mean
# in the unit's bin and its neighbours, minus mean in all others.

# %%
def my_advantage(matrix, own):
    """(U,) from the growth of the error (U, K) and each unit's own bin (U,); one bin to either side counts as own."""
    # <solution>
    near = (torch.arange(matrix.shape[1]) - own[:, None]).abs() <= 1
    inside = torch.where(near, matrix, 0.0).sum(1) / near.sum(1)
    return inside - torch.where(near, 0.0, matrix).sum(1) / (~near).sum(1)
    # </solution>


check.own_range_advantage(my_advantage)

# %% [markdown]
# **3. A plane over a patch.** Draw the plane $(n_1, n_2, n_3, n_4)$ over a patch of $k \times k$ pixels:
# $\tilde c = n_4 / (n_1 u + n_2 v + n_3)$. $u$ grows to the right and $v$ downwards; both are the centres of the $k$
# pixels when the patch is one unit wide and its middle is 0. For $k = 2$ they are −¼ and ¼.

# %%
def my_plane(plane, k):
    """Depth (k, k) of the plane (4,) over its patch."""
    # <solution>
    centres = (torch.arange(k) + 0.5) / k - 0.5
    return plane[3] / (plane[0] * centres + plane[1] * centres[:, None] + plane[2])
    # </solution>


check.plane_over_patch(my_plane)

# %% [markdown]
# **4. Open.** Can a network be perfectly selective and useless? Or useful and not selective at all? Think of a last
# layer that holds depth in one unit and noise in the others. What would a measure of *usefulness* look like?
#
# ## What to read next
#
# Notebook 03 derives the number with which selectivity should be compared. Notebook 14 silences pixels where this one
# silences units. The idea of dissection: Bau et al., *Network Dissection* (2017). On single units and what they are
# worth: Morcos et al., *On the importance of single directions for generalization* (2018), which found that selective
# units of image classifiers matter no more than others.
