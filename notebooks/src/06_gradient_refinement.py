# %% [markdown]
# # 06 · Depth gradient refinement
#
# A depth map should be smooth where the world is smooth, and should jump where it jumps. Yao, Wu and Zhang
# ([yao2023](https://arxiv.org/abs/2308.08333)) say that Transformers are weak at both (Sections 3.1 and 3.2; notebook
# 02). Their cure is a module, **depth gradient refinement** (DGR): take second and third differences of the encoder's
# features, put them beside the features, and let a few layers mix everything.
#
# The abstract says that with DGR and a new loss, models "enhance performance without increasing complexity and
# computational costs". Tables 2 and 3 add both to six published networks. All six become more accurate, on NYU and on
# KITTI.
#
# **Four questions.** Does the module help each of the six? Is it the differences that help, or just more weights? Does
# the depth become more continuous, as the title says? And does it cost nothing?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import copy

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from mdelib import course, evaluation, figures, models, papers, verdicts
from mdelib import refinement_figures as drawing
from mdelib.complexity import blueprint, count_operations, ratio_interval, time_in_turns
from mdelib.dgr import DepthGradientRefinement, add_dgr, difference_kernels, interaction_weights
from mdelib.edges import edge_regions
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.gradients import central_difference, smooth_masked
from mdelib.widgets import explore

lesson = course.start("06", data=data, scale=scale, seed=seed, device=device)

# %%
HOSTS = {"adabins": "AdaBins", "dpt": "DPT", "transdepth": "TransDepth", "swindepth": "SwinDepth",
         "depthformer": "DepthFormer", "pixelformer": "PixelFormer"}
EXPERIMENT = load_experiment("gradient_refinement")
SETTINGS = EXPERIMENT.resolve("pixelformer", data, lesson.scale)
SIZE, PROTOCOL = SETTINGS.size, SETTINGS.protocol

# %% [markdown]
# ## First the picture: what do differences light up?
#
# Here is a room and its true depth, and what second and third differences make of it. Eq 9 and 10 write them as
# convolutions with fixed operators:
#
# $$\nabla^2 D = D * \mathcal{L}, \qquad \nabla^3 D = D * \mathcal{H} .$$

# %%
views = lesson.views("test", size=SIZE)
room = views[lesson.pick(smoke=1, lab=18)]
LAPLACIAN, THIRD = difference_kernels()


def filtered(depth, kernel):
    """A depth map (H, W) under a 5 × 5 operator; the map is continued at its frame."""
    padded = F.pad(depth[None, None], (2, 2, 2, 2), mode="replicate")
    return F.conv2d(padded, kernel[None, None])[0, 0]


depth = torch.where(room.mask, room.depth, torch.nan)[0]
row = int(edge_regions(room.depth, room.mask)[0][0, 0].float().mean(-1).argmax())
maps = {"∇²D (m / pixel²)": filtered(depth[0], LAPLACIAN), "∇³D (m / pixel³)": filtered(depth[0], THIRD)}
lesson.figure(drawing.show_derivatives(room.image[0], depth, maps, row), "derivatives",
              "Second and third differences of the true depth of a room, and all of them along one row.",
              alt="A room, its depth, two difference maps with bright outlines, and three curves along a row.")

# %% [markdown]
# Walls and floors are nearly gone; outlines are left. (Nearly, because in perspective it is $1/D$ of a plane that is
# linear, not $D$.) A step of the depth becomes a pair of a positive and a negative line in the second difference. A
# crease, where two walls meet, becomes a single line. The third difference has one line more for each. How much of the
# signal lies where?

# %%
near_edge, smooth = edge_regions(views.depth, views.mask)
share = {}
for title, kernel in {"second": LAPLACIAN, "third": THIRD}.items():
    energy = torch.stack([filtered(d[0], kernel).square() for d in torch.where(views.mask, views.depth, torch.nan)])
    known = energy.isfinite()
    share[title] = float(energy[known & near_edge[:, 0]].sum() / energy[known].sum())
gain = {title: float(kernel.square().sum().sqrt()) for title, kernel in (("second", LAPLACIAN), ("third", THIRD))}
lesson.say(f"On {len(views)} test views, {float(near_edge.float().mean()):.0%} of the pixels lie near a depth edge. "
           f"They hold **{share['second']:.0%}** of the squared second difference and **{share['third']:.0%}** of the "
           f"third. Differences also amplify noise: independent noise of 1 cm becomes {gain['second']:.1f} cm in the "
           f"second and {gain['third']:.1f} cm in the third.")

# %% [markdown]
# So the operators find boundaries, which is what Section 3.2 wants them for. But look at what they were applied to: the
# **true** depth. A network does not have it. The text calls $D$ a depth map, while Figure 4 feeds the module with
# "features processed by the transformer encoder". There is no depth map at that place. We take the features: every
# channel gets its differences, as if it were a depth map of its own.
#
# ## Which operators?
#
# The Laplacian has two common versions. The third-order operator $\mathcal{H}$ is not given. Three readings fit the
# text: the change of the Laplacian along x *plus* that along y (one map, as Eq 10 writes), both of them as two maps, or
# plain third differences along x and y, also two maps.

# %%
GRADIENT, SEPARABLE = difference_kernels(third_order="gradient"), difference_kernels(third_order="separable")
grids = {"∇², 4 neighbours": LAPLACIAN, "∇², 8 neighbours": difference_kernels(8)[0], "∂x∇² + ∂y∇²": THIRD,
         "∂x∇² (and ∂y∇²)": GRADIENT[1], "∂³/∂x³ (and ∂³/∂y³)": SEPARABLE[1]}
lesson.figure(drawing.kernel_grid(grids), "operators", "The operators. The third is our default for Eq 10.",
              alt="Five 5 by 5 grids of numbers: two Laplacians and three third-order operators.")

# %%
def my_differences(x):
    """∇² and (∂x + ∂y)∇² of a map (H, W) by shifting it; two pixels smaller on every side."""
    second = x[1:-1, 2:] + x[1:-1, :-2] + x[2:, 1:-1] + x[:-2, 1:-1] - 4 * x[1:-1, 1:-1]
    third = (second[1:-1, 2:] - second[1:-1, :-2] + second[2:, 1:-1] - second[:-2, 1:-1]) / 2
    return torch.stack([second[1:-1, 1:-1], third])


whole = depth.nan_to_num()  # unknown depth as 0
library = DepthGradientRefinement(1).differences(whole[None])[0, :, 2:-2, 2:-2]
print("equal to the library:", torch.allclose(my_differences(whole[0]), library, atol=1e-5))

# %% [markdown]
# One map for the third order has a hole. Turn a soft edge around and watch how strongly each reading answers.

# %%
def strength(angle, kernels):
    """Root mean square answer to a soft edge whose depth changes in direction `angle` (degrees)."""
    y, x = torch.meshgrid(torch.arange(-20.0, 21), torch.arange(-20.0, 21), indexing="ij")
    direction = np.deg2rad(angle)
    edge = torch.sigmoid((x * np.cos(direction) + y * np.sin(direction)) / 1.5)
    return float(sum(filtered(edge, kernel)[5:-5, 5:-5].square() for kernel in kernels).mean().sqrt())


angles = range(0, 181, 5)
readings = {"sum, one map (Eq 10)": [THIRD], "gradient, two maps": GRADIENT[1:], "separable, two maps": SEPARABLE[1:]}
figure, axis = figures.new_figure(height=2.7)
for index, (title, kernels) in enumerate(readings.items()):
    answer = np.array([strength(angle, kernels) for angle in angles])
    axis.plot(angles, answer / answer[0], ls=("-", "--", ":")[index], color=figures.COLOURS[index], label=title)

# %%
axis.set(xlabel="direction in which depth changes (degrees; 0 right, 90 down)", ylabel="answer, relative to 0°",
         ylim=(0, None), xticks=range(0, 181, 45))
axis.legend(loc="lower left")
lesson.figure(figure, "orientation", "How strongly three readings of the third order answer to an edge.",
              alt="Three curves over edge direction; the sum falls to zero at 135 degrees, the others do not.")

# %% [markdown]
# The sum does not see an edge at 135°: there the changes along x and y cancel. We keep it as the default, since it is
# the only reading with a single map, and say it loudly.
#
# ## The module in ten lines
#
# $F = \mathrm{concat}(x, \nabla^2 x, \nabla^3 x)$ has three times the channels of the feature $x$. A weight for each
# channel, from its mean over the image (Eq 12); a convolution of what is left of the weighted channels (Eq 13); an
# outer product with $F$ at every pixel, and a $1 \times 1$ convolution that brings it back to $C$ channels (Eq 14).
#
# $$w = \sigma(\mathrm{FC}_2\,\mathrm{ReLU}(\mathrm{FC}_1\,\mathrm{GAP}(F))), \quad
#   S = \mathrm{Conv}(\mathrm{ReLU}(F \odot w)), \quad \mathrm{DGR}(x) = \mathrm{Conv}_{1\times1}(A S \otimes B F).$$
#
# $A$ and $B$ are ours, and the next section says why.

# %%
def my_refinement(x, m):
    merged = torch.cat([x, m.differences(x)], 1)                           # Eq 9 to 11
    first, _, second, _ = m.recalibrate
    mean = merged.mean((2, 3))
    w = torch.sigmoid(second(F.relu(first(mean))))[..., None, None]        # Eq 12
    spatial = m.spatial(F.relu(merged * w))                                # Eq 13
    left, right = m.project_spatial(spatial), m.project_merged(merged)     # A and B, to r channels each
    outer = torch.einsum("bihw,bjhw->bijhw", left, right)
    return m.interaction(outer.flatten(1, 2))                              # Eq 14


module, x = DepthGradientRefinement(24), torch.randn(2, 24, 12, 16)
with torch.no_grad():
    print("equal to the library:", torch.allclose(my_refinement(x, module), module.refinement(x), atol=1e-5))

# %% [markdown]
# ## The outer product that nobody can pay
#
# Eq 14 as printed is the outer product of a feature of $C$ channels and one of $3C$, at every pixel: $3C^2$ channels.
# The convolution behind it needs $C \cdot 3C^2$ weights. The stages of Swin-L, the encoder of PixelFormer, have 192 to
# 1536 channels.

# %%
rows = [{"channels C": c, "products at a pixel": f"{3 * c * c:,}",
         "weights as printed": f"{interaction_weights(c, 3 * c):.2g}",
         "their memory (float32)": f"{4 * interaction_weights(c, 3 * c) / 2**30:.2g} GiB",
         "weights with rank 16": f"{interaction_weights(c, 3 * c, 16):,}"} for c in (24, 96, 192, 384, 768, 1536)]
lesson.table(pd.DataFrame(rows), "outer_product", "The last convolution of one module, as Eq 14 prints it and with "
             "both factors projected to 16 channels first.")

# %% [markdown]
# The last module alone would be many times the size of its whole host (a later section counts both). It is hard to
# believe that what is printed was run at these stages; what was run is not known. We project both factors to $r = 16$ channels before the product. That is a known trick, low-rank bilinear
# pooling, and it *is* the printed form with its weights tied:
#
# $$\sum_{ab} W_{oab}\,(A S)_a (B F)_b = \sum_{ij} \Big(\sum_{ab} W_{oab} A_{ai} B_{bj}\Big) S_i F_j .$$

# %%
torch.manual_seed(0)
low, literal, x = DepthGradientRefinement(6, rank=4), DepthGradientRefinement(6, rank=None), torch.randn(1, 6, 8, 8)
A, B = low.project_spatial.weight[..., 0, 0], low.project_merged.weight[..., 0, 0]
tied = torch.einsum("oab,ai,bj->oij", low.interaction.weight.view(6, 4, 4), A, B)
with torch.no_grad():
    for part in ("recalibrate", "spatial"):
        literal.get_submodule(part).load_state_dict(low.get_submodule(part).state_dict())
    literal.interaction.weight.copy_(tied.flatten(1)[..., None, None])
    literal.interaction.bias.copy_(low.interaction.bias)
    print("same output:", torch.allclose(literal.refinement(x), low.refinement(x), atol=1e-5),
          "| weights:", interaction_weights(6, 18), "as printed,", interaction_weights(6, 18, 4), "with rank 4")

# %% [markdown]
# ## A host is left as it was
#
# The paper writes no residual: read literally, the module *replaces* the feature by one that the decoder has never
# seen. We add, with a factor that starts at zero:
#
# $$x \;\to\; x + \gamma\,\mathrm{DGR}(x), \qquad \gamma = 0 \text{ at the start.}$$
#
# So adding DGR changes nothing until training wants it to. Here are all six hosts, small and untrained, on one view.

# %%
def changes(name):
    """A host and its size before and after DGR, and the largest change of its depth."""
    torch.manual_seed(lesson.seed)
    host = models.create_model(name).eval()
    before, plain = evaluation.predict(host, room.image), models.count_parameters(host)
    refined = add_dgr(host)
    change = float((evaluation.predict(refined, room.image) - before).abs().max())
    assert change <= 1e-6
    return {"host": HOSTS[name], "features (channels)": " ".join(str(m.channels) for m in refined.dgr.values()),
            "weights (M)": plain / 1e6, "with DGR (M)": models.count_parameters(refined) / 1e6,
            "largest change (m)": f"{change:.0e}" if change else "0"}


lesson.table(pd.DataFrame([changes(name) for name in HOSTS]), "unchanged", "Six hosts at lab scale, before and after "
             "DGR, on one view; features finest first.")

# %% [markdown]
# And one trained host, PixelFormer, with the module added, and with the module in place of the feature, as printed.
# (`lesson.network` loads this notebook's training, or makes it now.)

# %%
def depth_of(network):
    return evaluation.predict(network, views.image)


def abs_rel(network):
    return evaluation.score(depth_of(network), views.depth, views.mask, PROTOCOL)["abs_rel"]


torch.manual_seed(lesson.seed)
fresh = add_dgr(lesson.network("gradient_refinement", "pixelformer"))
before = depth_of(fresh.host)
added = (depth_of(fresh) / before - 1).abs().mean()
for module in fresh.dgr.values():
    module.forward = module.refinement  # no residual, no γ
replaced = (depth_of(fresh) / before - 1).abs().mean()
lesson.say(f"On average the depth of a pixel moves by **{added:.1%}** when DGR is added, and by **{replaced:.1%}** when "
           "DGR replaces the features.")

# %% [markdown]
# With γ = 0 nothing flows back into the module at first, except to γ itself. Training frees it in one step:

# %%
torch.manual_seed(lesson.seed)
student = models.create_model("pixelformer", dgr={}).train()
gammas = [m.gamma for m in student.dgr.values()]
others = [p for m in student.dgr.values() for name, p in m.named_parameters() if name != "gamma"]
optimizer, steps, few = torch.optim.AdamW(student.parameters(), lr=1e-3), [], views[:4]
for step in range(1, 4):
    error = ((student(few.image).log() - few.depth.log())[few.mask]).abs().mean()
    optimizer.zero_grad(), error.backward()
    norm = {title: float(torch.stack([p.grad.norm() for p in group]).norm())
            for title, group in (("gradient of the four γ", gammas), ("gradient of all else in DGR", others))}
    optimizer.step()
    steps.append({"step": step, **{title: f"{value:.1e}" for title, value in norm.items()}})
lesson.table(pd.DataFrame(steps), "first_steps", "Length of the gradient in the first three steps.")

# %% [markdown]
# ## Where it sits
#
# Figure 4 of the paper puts the module behind the encoder; the text says "after each encoder block". In a Swin
# Transformer a *stage* has several blocks, 24 in all in Swin-L. We place one module behind each stage, on what the
# decoder receives. The encoder itself goes on with the unrefined feature.

# %%
with torch.no_grad():
    shapes = [tuple(feature.shape[1:]) for feature in student.host.eval().encode(torch.zeros(1, 3, *SIZE))]
lesson.figure(drawing.draw_stages(shapes, range(len(shapes)), host="PixelFormer"), "placement",
              f"PixelFormer with DGR at lab scale, for an image of {SIZE[0]} × {SIZE[1]}: channels × height × width.",
              alt="A row of four encoder stages, each with an arrow through a DGR box down to one wide decoder.")
small = [sum(p.numel() for p in DepthGradientRefinement(c).parameters()) / 1e6 for c in (192, 384, 768, 1536)]
blocks = sum(count * size for count, size in zip((2, 2, 18, 2), small))
lesson.say(f"In Swin-L the four modules have {sum(small):.0f} million weights. One behind every block would take "
           f"{blocks:.0f} million, more than PixelFormer itself.")

# %% [markdown]
# Note the sizes. The finest map has a quarter of the image's resolution. A "third difference" is five cells wide: there
# that is twenty pixels of the image, and at the coarsest stage more than the width of the picture. Whatever the module learns, it cannot draw an outline
# that is one pixel sharp; the decoder has to do that.
#
# ## The six hosts, and what DGR costs them
#
# At `scale="paper"` the library builds the published networks. Their weights can be counted without memory, on tensors
# that have a shape and no numbers.

# %% tags=["nbval-check-output"]
PUBLISHED = {"adabins": 78.0, "dpt": 123.9, "transdepth": 311.3, "pixelformer": 270.9}
UNUSED = {"dpt": 1.95, "transdepth": 3.8, "pixelformer": 12.5}  # built by the authors' code, never called
large = {name: blueprint(name, dgr={}) for name in HOSTS}
weights = {name: (models.count_parameters(network.host) / 1e6, models.count_parameters(network.dgr) / 1e6)
           for name, network in large.items()}
print(pd.DataFrame([{"host": title, "published (M)": PUBLISHED.get(name), "ours (M)": weights[name][0],
                     "never used (M)": UNUSED.get(name), "DGR (M)": weights[name][1],
                     "DGR (%)": 100 * weights[name][1] / weights[name][0]} for name, title in HOSTS.items()])
      .to_string(index=False, float_format="%.1f", na_rep="-"))

# %% [markdown]
# Three of the four published counts are reached to within 1 %, once the parts are added that the authors' code builds
# and never calls. TransDepth's 311.3 M come from another paper (huynh2021, Table 1); its authors' code gives 247 M. No count is
# published for SwinDepth and DepthFormer that we know of.
#
# **SwinDepth** is a reading: the article (Cheng et al., 2021) has no public text or code. **DepthFormer** is that of
# Agarwal and Arora; another network has the same name.
#
# Operations are the products and sums of one forward pass. Time is that of the small networks on this machine, one
# image at a time, measured in turns: with, without, with, without.

# %%
counted = {name: count_operations(large[name], (480, 640))
           for name in lesson.pick(smoke=["swindepth"], lab=list(HOSTS))}
turns = {}
for name in HOSTS:
    pair = {"host": models.create_model(name).eval(), "refined": models.create_model(name, dgr={}).eval()}
    calls = {kind: (lambda network=network: network(room.image)) for kind, network in pair.items()}
    with torch.no_grad():
        turns[name] = time_in_turns(calls, rounds=lesson.pick(smoke=2, lab=9))

# %%
rows = []
for name, title in HOSTS.items():
    ratio, (low, high) = ratio_interval(turns[name]["refined"], turns[name]["host"])
    row = {"host": title, "weights": f"+{100 * weights[name][1] / weights[name][0]:.0f} %"}
    if name in counted:
        module = sum(counted[name][f"dgr.{place}"] for place in large[name].dgr)
        row |= {"GFLOP, host": f"{(counted[name][''] - module) / 1e9:.0f}",
                "operations": f"+{100 * module / (counted[name][''] - module):.0f} %"}
    rows.append({**row, "ms, small host": f"{1e3 * np.median(turns[name]['host']):.0f}",
                 "time": f"{100 * (ratio - 1):+.0f} %", "middle half of rounds": f"{100 * (low - 1):+.0f} to "
                 f"{100 * (high - 1):+.0f} %"})
costs = pd.DataFrame(rows).fillna("–")
lesson.table(costs, "costs", "What DGR adds. Weights and operations: paper scale, one image of 480 × 640. Time: lab "
             "scale, processor seconds here.")

# %% [markdown]
# Is that only our reading? Most of these weights are not in the outer product but in the convolution of Eq 13, whose
# size the paper does not give. The smallest there is has a 1 × 1 kernel.

# %%
least = {}
for name, network in large.items():
    with torch.device("meta"):
        modules = [DepthGradientRefinement(m.channels, kernel_size=1) for m in network.dgr.values()]
    least[name] = 100 * sum(map(models.count_parameters, modules)) / 1e6 / weights[name][0]
spatial = sum(models.count_parameters(m.spatial) for n in large.values() for m in n.dgr.values())
lesson.say(f"The 3 × 3 convolutions of Eq 13 hold {spatial / 1e4 / sum(w[1] for w in weights.values()):.0f} % of the "
           f"weights of all these modules. With 1 × 1 convolutions DGR would still add {min(least.values()):.0f} to "
           f"{max(least.values()):.0f} %.")

# %% [markdown]
# "Without increasing complexity and computational costs" cannot hold for any reading: what is added is added. One can
# only ask whether it is much.
#
# ## The experiment
#
# `experiments/gradient_refinement.yaml` trains each host as it comes and with DGR, with the same loss, on the same
# views, with the same seeds. The loss is SILog, the hosts' own. Here that is done for one host, PixelFormer, with one
# seed; the reference study below has the others.

# %%
results = lesson.results("gradient_refinement")
TITLES = {variant: entry.title for variant, entry in EXPERIMENT.variants.items()}
figure, axis = figures.new_figure(height=2.4)
for index, run in enumerate(results):
    axis.plot([e["epoch"] for e in run.history], [e["loss"] for e in run.history], "os^"[index] + "-",
              color=figures.COLOURS[index], label=TITLES[run.variant])
axis.set(xlabel="epoch", ylabel="training loss (SILog)", xticks=range(1, 1 + len(run.history)))
axis.legend()
lesson.figure(figure, "training", "Training loss with and without DGR.", sources=results,
              alt="Two falling loss curves.")
MAIN = ["abs_rel", "rmse", "delta1"]
lesson.table(verdicts.summary(results, MAIN, TITLES), "accuracy", f"Accuracy on {lesson.info.title}. AbsRel and RMSE "
             "(m): lower is better; δ1: higher is better.", sources=results)

# %% [markdown]
# Now look. Figure 6 of the paper shows views chosen by the authors. Ours are chosen by a rule: sort all test views by
# how much DGR lowers AbsRel, and take those at 10, 50 and 90 % of the list. (Figure 1, Transformer against CNN, is in
# notebook 02.)

# %%
by_name = {run.variant: run for run in results}
gains = (np.array(by_name["pixelformer"].per_image["abs_rel"], float)
         - np.array(by_name["pixelformer_dgr"].per_image["abs_rel"], float))
ranks = np.argsort(gains)
chosen = {place: int(ranks[round(place * (len(ranks) - 1) / 100)]) for place in (10, 50, 90)}
trained = {name: lesson.network("gradient_refinement", name) for name in ("pixelformer", "pixelformer_dgr")}


def pair_of(view, title=""):
    one = views[view]
    host, refined = (evaluation.predict(network, one.image)[0] for network in trained.values())
    return drawing.Pair(one.image[0], one.depth[0], host, refined, one.mask[0], title)


# %%
pairs = [pair_of(view, f"{place} %: {gains[view]:+.3f}") for place, view in chosen.items()]
lesson.figure(drawing.comparison(pairs), "maps", "PixelFormer without and with DGR, and the difference; red is farther "
              "with DGR. Beside each row: how much lower AbsRel is with DGR.", sources=results,
              alt="Three rows of a view, its true depth, two predicted depth maps, and their difference.")
middle = pairs[1]
box = drawing.busiest_box(middle.truth, middle.mask, (SIZE[0] // 3, SIZE[1] // 3))
lesson.figure(drawing.close_up(middle, box), "close_up", "The middle view again; below, the window with most depth "
              "edges, with depth limits of its own (in the paper: Figure 8).", sources=results,
              alt="A row of maps with a red frame, and below it the framed parts enlarged.")

# %% [markdown]
# The networks are minutes old, so both maps are coarse. Are they different because of DGR, or because two trainings
# never give the same network? One view cannot tell, and one seed cannot either.
#
# ## What the module sees
#
# One channel a stage: the feature, its two differences, and what DGR adds to it after training. The channel is the one
# to which DGR adds most. The outer product multiplies features with differences, so it grows with the square of both.
# At the finest stage most of it lies in a few places.

# %%
refined = trained["pixelformer_dgr"]


def stages_of(network, image):
    """The feature of every stage, its differences and γ DGR(x), (C, h, w) each."""
    with torch.no_grad():
        for module, x in zip(network.dgr.values(), network.host.encode(network.normalize(image.to(lesson.device)))):
            second, third = module.differences(x).chunk(2, 1)
            yield {"feature x": x[0], "∇²x": second[0], "∇³x": third[0],
                   "γ·DGR(x)": module.gamma * module.refinement(x)[0]}


stages = list(stages_of(refined, views[chosen[50]].image))
most = [int(stage["γ·DGR(x)"].flatten(1).norm(dim=1).argmax()) for stage in stages]
lesson.figure(drawing.stage_maps([{title: maps[channel].cpu() for title, maps in stage.items()}
                                  for channel, stage in zip(most, stages)]), "stages",
              "What DGR sees and what it adds, stage by stage, on the middle view. Below each map: its limits.",
              alt="Four rows of four small signed maps, from fine to coarse.", sources=results)

# %% [markdown]
# And the factor γ that training found. It began at zero.

# %%
def silenced(network, places=None):
    """A copy of the network with γ = 0 at some places, or at all."""
    other = copy.deepcopy(network)
    for place, module in other.dgr.items():
        if places is None or place in places:
            module.gamma.data.zero_()
    return other


def concentration(added, share=0.05):
    """Part of a map's squared size (C, h, w) that lies in the strongest `share` of its places."""
    energy = added.square().sum(0).flatten().sort(descending=True).values
    return float(energy[:max(1, round(share * len(energy)))].sum() / energy.sum())


# %%
rows = [{"stage": place, "γ": refined.dgr[place].gamma.item(),
         "size of γ·DGR(x) against x": f"{float(s['γ·DGR(x)'].norm() / s['feature x'].norm()):.0%}",
         "of that, in 5 % of the places": f"{concentration(s['γ·DGR(x)']):.0%}",
         "AbsRel with it silenced": abs_rel(silenced(refined, [place]))} for place, s in zip(refined.dgr, stages)]
lesson.table(pd.DataFrame(rows), "gamma", "γ after training, how much it adds on the middle view, how few places that "
             "concerns, and AbsRel on all test views with γ = 0 at this stage alone.", sources=results)

# %%
whole, none = abs_rel(refined), abs_rel(silenced(refined))
lesson.say(f"With all four modules AbsRel is {whole:.3f}; with all four silenced after training it is **{none:.3f}**. The "
           f"host that never had them reached {by_name['pixelformer'].metrics['abs_rel']:.3f}. What a module is worth is "
           "the difference of two trainings, not what breaks when a part is taken out of one.")

# %% [markdown]
# Turn the factor yourself: multiply γ at one stage, or at all, and see where the depth moves.

# %%
turnable = copy.deepcopy(refined)


def at_factor(place, factor, image):
    """Depth with γ multiplied at a stage, or at all."""
    for name, module in turnable.dgr.items():
        module.gamma.data = refined.dgr[name].gamma.data * (factor if place in ("all", name) else 1)
    return evaluation.predict(turnable, image)[0]


offered, places = list(chosen.values()), ["all", *refined.dgr]
without = {(place, view): at_factor(place, 0, views[view].image) for place in places for view in offered}


# %%
def turned(place, factor, view):
    one = views[view]
    on = at_factor(place, factor, one.image)
    pair = drawing.Pair(one.image[0], one.depth[0], without[place, view], on, one.mask[0])
    return drawing.comparison([pair], names=("view", "truth", "γ = 0 there", f"{factor} × γ there", "difference"))


explore(turned, {"place": places, "factor": [0, 1, 2, 4, 8], "view": offered},
        [{"place": "all", "factor": 1, "view": offered[1]}, {"place": "0", "factor": 4, "view": offered[1]}],
        lesson=lesson, name="turned", caption="Stage: {place}. {factor} times the learned γ there, against γ = 0 there.",
        alt="View, truth, depth with γ = 0 and with {factor} γ (stage: {place}), and the difference.")

# %% [markdown]
# ## Tables 2 and 3
#
# First what the paper's tables say by themselves.

# %%
def published(table):
    return papers.load_table("yao2023", table).pivot(index="row", columns="column", values="value")


def paper_change(table, host, measure):
    """The paper's change in percent of the host's value; None where a cell is empty."""
    cells = published(table)[measure]
    change = 100 * (cells[f"{HOSTS[host]} + DGR"] / cells[HOSTS[host]] - 1)
    return None if np.isnan(change) else float(change)


# %%
spans = {table: [paper_change(table, host, "rmse") for host in HOSTS] for table in ("table2", "table3")}
lesson.say(f"RMSE changes by {max(spans['table2']):.1f} to {min(spans['table2']):.1f} % on NYU (Table 2) and by "
           f"{max(spans['table3']):.1f} to {min(spans['table3']):.1f} % on KITTI (Table 3). No row has a spread or a "
           "number of runs.")
parts, base = published("table4")["rmse"], published("table2")["rmse"]["PixelFormer"]
lesson.say(f"These rows hold **two** changes, the module and the loss. Table 4 takes them apart for one network: its "
           f"last row is the row PixelFormer + DGR. PixelFormer has {base:.3f} m, with DGR and the mean squared error "
           f"{parts['MSE']:.3f} m, with the transport loss as well {parts['MSE + OTDL']:.3f} m. So of the gain of "
           f"{base - parts['MSE + OTDL']:.3f} m only {base - parts['MSE']:.3f} m is left for the module, together with "
           "whatever the change from the host's own loss to the mean squared error does.")

# %% [markdown]
# Our rows change the module alone. Here is what the reference study holds.

# %%
study, streets = lesson.reference("gradient_refinement"), lesson.reference("gradient_refinement", "scenes-streets")
STUDIES = {"NYU": ("nyu", study, "table2"), "rendered streets": ("scenes-streets", streets, "table3")}


def missing(where, runs):
    """The trainings of the study that are not there, in words, and how many there should be."""
    wanted = {(run.variant, run.seed) for run in EXPERIMENT.runs(where, "study")}
    gone = wanted - {(run.variant, run.seed) for run in runs}
    seeds = {variant: sorted(seed for name, seed in gone if name == variant) for variant in TITLES}
    every = len({seed for _, seed in wanted})
    return ", ".join(TITLES[v] + ("" if len(s) == every else f" (seed {', '.join(map(str, s))})")
                     for v, s in seeds.items() if s), len(gone), len(wanted)


for title, (where, runs, _) in STUDIES.items():
    names, gone, wanted = missing(where, runs)
    lesson.say(f"{title}: {wanted - gone} of {wanted} trainings." + (f" Missing: {names}." if gone else ""))

# %%
BETTER = {"abs_rel": "smaller", "rmse": "smaller", "delta1": "greater"}
CONTINUITY = {"gradient_error_smooth": "smaller", "roughness": "smaller", "gradient_error_edge": "smaller",
              "edge_sharpness": "greater"}
PLACES = {lesson.info.title: results, "NYU, reference study": study, "rendered streets, reference study": streets}
FOUND = {title: verdicts.judge(drawing.refinement_claim(HOSTS, BETTER | CONTINUITY), runs)
         for title, runs in PLACES.items()}


def found_in(runs, *measures):
    """The findings "with DGR minus without" of a group of runs for some measures."""
    place, = (title for title, group in PLACES.items() if group is runs)
    return [finding for finding in FOUND[place] if finding.measure in measures]


# %%
def host_table(runs, table):
    rows = []
    for f in found_in(runs, *BETTER):
        ours = verdicts.summary(runs, [f.measure], {v: v for v in (f.second, f.first)})[f.measure]
        cells = published(table)[f.measure]
        rows.append({"host": HOSTS[f.second], "measure": f.measure, "paper": f"{cells[HOSTS[f.second]]:.3f} → "
                     f"{cells[HOSTS[f.second] + ' + DGR']:.3f}", "ours, host": ours[0], "ours, + DGR": ours[1],
                     "difference": f"{f.difference:+.4f}", "95 % interval": f.span, "n": f.count,
                     "verdict": f.verdict})
    return pd.DataFrame(rows)


# %%
for title, (where, runs, table) in STUDIES.items():
    rows = host_table(runs, table)
    if len(rows):
        lesson.table(rows, f"table_{where}", f"{title}, from the reference study; in the paper: Table {table[-1]}. Mean "
                     "± standard deviation over seeds; difference: with DGR minus without; n: seeds × views.",
                     sources=runs)

# %% [markdown]
# The same in one figure, in percent of the host's value, because our hosts are small, began with random weights and saw
# 96 × 128 pixels: read the differences, not the levels. For Table 3 we have rendered streets in place of KITTI.

# %%
def panel(runs, table, measure):
    """host -> the paper's change, ours and its interval, in percent of the host."""
    ours = {}
    for f in found_in(runs, measure):
        level = np.mean([r.metrics[measure] for r in runs if r.variant == f.second]) / 100
        ours[f.second] = (f.difference / level, tuple(end / level for end in f.interval))
    return {title: (paper_change(table, name, measure), *ours.get(name, (None, (0, 0))))
            for name, title in HOSTS.items()}


panels = {f"{short}, Table {table[-1]}\nours: {title if runs else 'not made yet'}": panel(runs, table, measure)
          for title, (_, runs, table) in STUDIES.items() for measure, short in (("abs_rel", "AbsRel"), ("rmse", "RMSE"))}
lesson.figure(drawing.improvement_plot(panels, unit="change (%)"), "improvement", "Change with DGR. Diamonds: the paper "
              "(module and loss). Dots: ours (module alone), with the 95 % interval. Left of zero is better.",
              sources=[*study, *streets], alt="Four panels of six hosts with diamonds and dots left and right of zero.")

# %%
def counted_words(found):
    words = pd.Series([f.verdict for f in found]).value_counts()
    return ", ".join(f"{count} {word}" for word, count in words.items())


for title, (_, runs, _) in STUDIES.items():
    for measure in ("abs_rel", "rmse") if runs else ():
        found = found_in(runs, measure)
        lesson.say(f"{title}: {measure} is lower with DGR in **{sum(f.difference < 0 for f in found)} of {len(found)}** "
                   f"hosts; with their intervals: {counted_words(found) or 'no pair yet'}.")

# %% [markdown]
# ## Is it the differences?
#
# A network with DGR is larger. Any extra layers might help. So there is a control of exactly equal size: the same
# module, the same weights to learn, but with **copies** of the feature where the differences should be. The paper has
# none.

# %%
def plain_table(found, runs):
    """Findings without the column of claims; small numbers keep their digits."""
    table = verdicts.findings_table(found, runs).drop(columns="claim", errors="ignore")
    digits = {"first": "{:.3g}", "second": "{:.3g}", "difference": "{:+.2g}"}
    return table.assign(**{column: table[column].map(form.format) for column, form in digits.items() if found})


WITH_CONTROL = {name: title for name, title in HOSTS.items() if f"{name}_copies" in EXPERIMENT.variants}


def control_table(runs):
    found = [f for suffix, against in (("copies", None), ("dgr", "copies"))
             for f in verdicts.judge(drawing.refinement_claim(WITH_CONTROL, BETTER | {"edge_sharpness": "greater"},
                                                              suffix=suffix, against=against), runs)]
    return found, plain_table(found, runs)


# %%
CONTROLS = {}
for title, (where, runs, _) in STUDIES.items():
    found, rows = control_table(runs)
    CONTROLS[f"{title}, reference study"] = found
    if found:
        lesson.table(rows, f"control_{where}", f"{title}: the module with copies against the host, and DGR against the "
                     "module with copies. `agrees` means that the first is better.", sources=runs)
    else:
        lesson.say(f"{title}: no pair with a control yet.")

# %% [markdown]
# ## The module and the loss apart
#
# The paper's "+ DGR" rows hold both. Four cells would separate them; Table 4 has three, all with the module.
# `experiments/transport.yaml` (notebook 07) trains PixelFormer with the mean squared error (MSE) and with MSE and the
# transport loss (OTDL).

# %%
losses = lesson.reference("transport")


def cell_of(run):
    """Row and column of a run in the 2 × 2 table; None for another loss."""
    name, options = run.parameters["loss"], run.parameters["loss_options"]
    column = {"mse": "MSE", "mse_transport": "MSE + OTDL"}.get(name)
    module = "with DGR" if run.parameters["network_options"].get("dgr") is not None else "without DGR"
    return (module, column) if column and options.get("ground", "space") == "space" else None


cells = {}
for run in losses:
    cells.setdefault(cell_of(run), {})[run.seed] = run
FOUR = [(module, loss) for module in ("without DGR", "with DGR") for loss in ("MSE", "MSE + OTDL")]
absent = [" and ".join(cell) for cell in FOUR if cell not in cells]

# %%
SAID = {("with DGR", "MSE"): "MSE", ("with DGR", "MSE + OTDL"): "MSE + OTDL"}
rows = [{"module": cell[0], "loss": cell[1], "paper, RMSE (m)": f"{parts[SAID[cell]]:.3f}" if cell in SAID else "–",
         **{m: f"{np.mean([r.metrics[m] for r in cells[cell].values()]):.3f}" for m in MAIN},
         "seeds": len(cells[cell])} for cell in FOUR if cell in cells]
if rows:
    lesson.table(pd.DataFrame(rows), "two_by_two", "PixelFormer on NYU, from the reference study of Table 4.",
                 sources=losses)
if absent:
    lesson.say("The reference study does not hold " + "; ".join(absent) + ". So the module and the loss are not "
               "separated here in full: the tables above separate the module, notebook 07 the loss.")


# %%
def effect(first, second, measure):
    """Mean difference of two cells over common seeds and views, with its interval, in words."""
    seeds = sorted(cells[first].keys() & cells[second].keys())
    one, two = (np.array([cells[c][s].per_image[measure] for s in seeds], float) for c in (first, second))
    centre, (low, high) = verdicts.paired_interval(one, two)
    return f"{centre:+.4f} ({low:+.4f} to {high:+.4f}, {len(seeds)} seed{'s' * (len(seeds) > 1)})"


effects = [("the module, under MSE", FOUR[2], FOUR[0]), ("the module, under MSE + OTDL", FOUR[3], FOUR[1]),
           ("the loss, without DGR", FOUR[1], FOUR[0]), ("the loss, with DGR", FOUR[3], FOUR[2])]
rows = [{"what is added": title, **{m: effect(first, second, m) for m in ("abs_rel", "rmse")}}
        for title, first, second in effects if first in cells and second in cells]
if rows:
    lesson.table(pd.DataFrame(rows), "effects", "What each part adds: difference and 95 % interval; negative is "
                 "better.", sources=losses)

# %% [markdown]
# ## Continuity
#
# The title promises depth *gradients* that are continuous. Four numbers of notebook 02 say what that could mean.
#
# | measure | what it is | better |
# |---|---|---|
# | `gradient_error_smooth` | $\lvert\nabla \ln \hat d - \nabla \ln d\rvert$ on smooth surfaces | lower |
# | `roughness` | how much the prediction bends there, $\lvert\nabla^2 \ln \hat d\rvert$ | lower |
# | `gradient_error_edge` | as the first, near depth edges | lower |
# | `edge_sharpness` | predicted slope over true slope at edges; 1 is as sharp as the truth | higher, up to 1 |

# %%
def slope_error(depth, truth, mask):
    """|∇ ln d̂ − ∇ ln d| a pixel, both maps slightly smoothed, (H-2, W-2); what `region_errors` averages."""
    logs = torch.where(mask, torch.cat([depth, truth]), 1.0).log()[None]
    dx, dy = central_difference(smooth_masked(logs, mask[None], 1.0))
    return ((dx[0, 0] - dx[0, 1]).square() + (dy[0, 0] - dy[0, 1]).square()).sqrt()


errors = [slope_error(depth, middle.truth, middle.mask) for depth in (middle.host, middle.refined)]
limit = float(torch.stack(errors).nanquantile(0.99))
figure, axes = figures.new_figure(1, 4, height=2.1)
figures.show_image(axes[0], middle.image, "view")
for axis, error, title in zip(axes[1:], errors, ("host", "host + DGR")):
    artist = axis.imshow(error, cmap="magma", vmin=0, vmax=limit)
    axis.set(xticks=[], yticks=[], title=title)

# %%
figure.colorbar(artist, ax=axes[:3], label="error of ∇ ln d\n(1 / pixel)", pad=0.01, shrink=0.75)
change = errors[1] - errors[0]
signed = figures.show_signed(axes[3], change, "difference", limit=float(change.abs().nanquantile(0.99)))
figure.colorbar(signed, ax=axes[3], label="blue: better\nwith DGR", shrink=0.75)
lesson.figure(figure, "slopes", "Error of the depth gradient on the middle view, without and with DGR. The difference "
              "has a scale of its own.",
              sources=results, alt="A view, two maps of gradient error, bright at outlines, and their difference.")

# %%
for number, (title, runs) in enumerate(PLACES.items()):
    found = found_in(runs, *CONTINUITY)
    if found:
        lesson.table(plain_table(found, runs), f"continuity_{number}",
                     f"Continuity, {title}: with DGR minus without. n is seeds × views.", sources=runs)
        words = "; ".join(f"`{measure}` {counted_words(found_in(runs, measure))}" for measure in CONTINUITY)
        lesson.say(f"{title}, over hosts: {words}.")
    else:
        lesson.say(f"Continuity, {title}: no pair yet.")

# %% [markdown]
# ## What we had to decide
#
# - **What D is.** The encoder's features, channel by channel, as in Figure 4. Applied to a *predicted* depth map, the
#   module would sit behind the decoder instead.
# - **The third order.** The sum, one map. It is blind in one direction (see above); `third_order="gradient"` is not.
# - **The outer product.** Rank 16 on both sides. The printed form is refused beyond 100 million weights.
# - **The residual.** Added, with γ = 0. Without it a pretrained host would have to be learned anew.
# - **Where.** Behind each stage, not each block; the encoder itself goes on unrefined.
# - **The sizes.** Recalibration to a sixteenth, a 3 × 3 convolution: Eq 12 and 13 give no numbers.
# - **The loss.** SILog in the tables above, with and without DGR. The paper's Eq 20 is the mean squared error.
# - **The scale.** Narrow hosts from random weights, 96 × 128 pixels, few epochs. The published hosts began with
#   ImageNet.
#
# How much would other operators change what the module sees? The correlation between maps, on the features of the
# trained host:

# %%
def maps_of(**options):
    """Second and third differences of every stage's feature: (stages, 2) lists of flat maps."""
    for stage in stages:
        x = stage["feature x"][None].cpu()
        parts = DepthGradientRefinement(x.shape[1], **options).differences(x).split(x.shape[1], 1)
        yield parts[0].flatten(), sum(parts[1:]).flatten()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


rows, other = [], (maps_of(neighbours=8), maps_of(third_order="separable"))
for place, (plain, eight, separable) in enumerate(zip(maps_of(), *other)):
    rows.append({"stage": place, "∇²: 4 and 8 neighbours": correlation(plain[0], eight[0]),
                 "∇³: 4 and 8 neighbours": correlation(plain[1], eight[1]),
                 "∇³: sum and separable (summed)": correlation(plain[1], separable[1])})
lesson.table(pd.DataFrame(rows), "choices", "How alike the maps are under other choices, by stage.", sources=results)

# %% [markdown]
# ## Verdict

# %%
claims = [claim for claim in papers.load_claims("yao2023") if claim.notebook == "06" and claim.evidence]
rows = []
for claim in claims:
    row = {"claim": f"{claim.place}: {claim.states}"}
    for title, runs in PLACES.items():
        known = {(f.measure, f.first, f.second): f for f in [*FOUND[title], *CONTROLS.get(title, ())]}
        found = [known[key] for e in claim.evidence if (key := (e.measure, *e.compare)) in known]
        row[title] = counted_words(found) or "not yet tested"
    rows.append(row)
lesson.table(pd.DataFrame(rows), "verdict", "The claims, one count a host and measure. A single seed is always "
             "inconclusive.", sources=[*results, *study, *streets])

# %%
more, busier = ([f.removeprefix("+") for f in costs[c] if f != "–"] for c in ("weights", "operations"))
slower = sum(np.median(np.array(t["refined"]) / np.array(t["host"])) > 1 for t in turns.values())
lesson.say(f"""| claim of the abstract | verdict |
|---|---|
| "without increasing complexity" | **contradicted**: {min(more, key=lambda w: int(w[:-2]))} to \
{max(more, key=lambda w: int(w[:-2]))} more weights at the published sizes |
| "without increasing ... computational costs" | **contradicted**: {min(busier, key=lambda w: int(w[:-2]))} to \
{max(busier, key=lambda w: int(w[:-2]))} more operations; slower here in {slower} of {len(turns)} hosts |""")

# %% [markdown]
# These are small networks from random weights. They can say whether the module helps *them*. `scale="paper"` asks the
# published ones. And most pairs have one seed: an interval over views alone does not say how far two seeds lie apart.
#
# ## Exercises
#
# **1. The third order.** Write $\partial_x \nabla^2 + \partial_y \nabla^2$ of a depth map by shifting it, with central
# differences for ∂. What comes out is two pixels smaller on every side.

# %%
def my_third_difference(depth):
    """(H, W) -> (H - 4, W - 4)."""
    # <solution>
    second = depth[1:-1, 2:] + depth[1:-1, :-2] + depth[2:, 1:-1] + depth[:-2, 1:-1] - 4 * depth[1:-1, 1:-1]
    return (second[1:-1, 2:] - second[1:-1, :-2] + second[2:, 1:-1] - second[:-2, 1:-1]) / 2
    # </solution>


check.third_difference(my_third_difference)

# %% [markdown]
# **2. How many weights?** Count the weights behind Eq 14 with projections to `rank` channels: two projections, from
# `channels` and from `merged`, and the convolution of the products back to `channels`. No biases.

# %%
def my_weights(channels, merged, rank):
    # <solution>
    return rank * channels + rank * merged + rank**2 * channels
    # </solution>


check.interaction_weights(my_weights)

# %% [markdown]
# **3. The printed form in disguise.** Given the projections $A$ (r, C) and $B$ (r, M) and the last convolution $W$
# (O, r²), return the weights (O, C, M) of the literal outer product that does the same.

# %%
def my_literal_weights(a, b, w):
    # <solution>
    return torch.einsum("oab,ai,bj->oij", w.reshape(-1, len(a), len(b)), a, b)
    # </solution>


check.literal_weights(my_literal_weights)

# %% [markdown]
# **4. Open question.** Our control replaces differences by copies. Design another of equal size: for instance *learned*
# 5 × 5 filters for each channel, or blurred copies. Which would you need to see fail before you believe that it is the
# differences that matter?
#
# ## What to read next
#
# - Hu, Shen, Sun, CVPR 2018 (arXiv 1709.01507): squeeze-and-excitation, which Eq 12 is.
# - Kim et al., ICLR 2017 (arXiv 1610.04325): low-rank bilinear pooling.
# - Bachlechner et al., 2020 (arXiv 2003.04887): residuals with a factor that starts at zero (ReZero).
# - In this course: notebook 07, the other half of the "+ DGR" rows; notebook 08, second derivatives in a loss.
