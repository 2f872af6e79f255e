# %% [markdown]
# # 02 · Two networks: a CNN and a Transformer
#
# Give the same photographs, the same loss and the same number of steps to a convolutional network and to a
# Transformer. Do their depth maps differ in kind, or only in quality?
#
# Yao, Wu and Zhang ([yao2023](https://arxiv.org/abs/2308.08333)) say: in kind. The caption of their Figure 1 reads:
# depth maps by the Transformer "exhibit clearer scene structures than those by the CNN method, while CNNs provide
# smoother depth estimations at object boundaries". Their Section 3.1 adds that the Transformer "lags behind the CNN"
# in the continuity of depth gradients. The whole paper builds on this difference.
#
# We train both networks, look at their maps, and then measure what the caption says.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from mdelib import course, evaluation, figures, models, papers, verdicts
from mdelib.edges import edge_regions
from mdelib.exercises import check
from mdelib.experiments import load_experiment

lesson = course.start("02", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## First the picture
#
# Two networks of about the same size, trained on the same views of rooms. The training took minutes, so the maps are
# coarse. Both got the big shapes. Look at the outlines of furniture, and at the flat walls.

# %%
networks = {name: lesson.network("two_networks", name) for name in ("cnn", "transformer")}
views = lesson.views("test")
shown = views[lesson.pick(smoke=[0, 1], lab=[3, 18, 41])]
maps = {name: evaluation.predict(network, shown.image) for name, network in networks.items()}
rows = [{"photograph" if lesson.info.real else "view": shown.image[i], "ground truth": shown.depth[i],
         "CNN": maps["cnn"][i], "Transformer": maps["transformer"][i]} for i in range(len(shown))]
lesson.figure(figures.image_rows(rows, masks=list(shown.mask)), "first_look",
              "The same views through both networks. One depth scale a row; near is bright.",
              alt="Rows of a view, its true depth, and the depth by a CNN and by a Transformer, both blurred.",
              sources=lesson.results("two_networks"))

# %% [markdown]
# ## The idea: what can one pixel see?
#
# A convolution computes each output from a small window. Depth at one pixel can only use what is near it, unless many
# layers are stacked. Attention computes each output as an average over *all* positions, weighted by how well a query
# matches a key:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right) V .$$
#
# That is one line of code. PyTorch's own version gives the same numbers.

# %%
def attention(query, key, value):
    weights = torch.softmax(query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5, dim=-1)
    return weights @ value, weights


tokens = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(0))
mixed, weights = attention(tokens, tokens, tokens)
same = torch.allclose(mixed, F.scaled_dot_product_attention(tokens, tokens, tokens), atol=1e-6)
sums = torch.allclose(weights.sum(-1), torch.ones(1, 12))
print("equal to the library:", same, "| every row of weights sums to 1:", sums)

# %% [markdown]
# What a trained network really uses can be asked of its gradient: by how much would the depth at the centre change if
# this pixel changed? We average the size of that gradient over views. It is called the effective receptive field
# (Luo et al., 2016).

# %%
def receptive_field(network, image):
    """Mean |d depth(centre) / d image| over images and colours, (H, W), scaled to a maximum of 1."""
    image = image.clone().requires_grad_()
    centre = network(image)[..., image.shape[-2] // 2, image.shape[-1] // 2].sum()
    field = torch.autograd.grad(centre, image)[0].abs().mean((0, 1))
    return field / field.max()


few = views[list(range(min(len(views), lesson.pick(smoke=2, lab=24))))].image.to(lesson.device)
fields = {name: receptive_field(network, few).cpu() for name, network in networks.items()}
share = {name: float((field.flatten().sort(descending=True).values.cumsum(0) < field.sum() / 2)
                     .float().mean()) for name, field in fields.items()}

# %%
figure, axes = figures.new_figure(1, 2, height=3.1)
for axis, (name, field) in zip(axes, fields.items()):
    artist = axis.imshow(field.clamp_min(1e-3), cmap="magma", norm="log", vmin=1e-3, vmax=1)
    axis.set(xticks=[], yticks=[], title={"cnn": "CNN", "transformer": "Transformer"}[name])
figure.colorbar(artist, ax=axes, label="gradient of the depth at the centre,\nrelative to its maximum")
lesson.figure(figure, "receptive_field",
              "What the depth at the image's centre depends on, averaged over views.",
              alt="Two heat maps of gradient size around the image centre, one per network, logarithmic scale.",
              sources=lesson.results("two_networks"))
lesson.say(f"Half of all the gradient lies in {share['cnn']:.1%} of the pixels for the CNN and in "
           f"{share['transformer']:.1%} for the Transformer.")

# %% [markdown]
# No pixel has a gradient of exactly zero in either network (black is below a thousandth of the maximum). A residual
# network of fifty layers is no keyhole: its deepest features have a window wider than the image. What differs is how
# fast the influence falls off. Keep that in mind when you read that "CNNs are local".
#
# The squares are no part of the rooms. They come from the strides: a pixel that enters more windows counts more.

# %% [markdown]
# ## The two networks
#
# The CNN is the one of Hu et al. (2019): a ResNet-50 encoder, a decoder of up-projections, and a fusion of four scales.
# The Transformer is SegFormer (Xie et al., 2021): four stages of attention, then a decoder of linear layers, the same
# at every pixel. At `scale="paper"` both are built as published. At `scale="lab"` both have fewer channels, and
# SegFormer fewer blocks in each stage.

# %% tags=["nbval-check-output"]
counts = []
for name, title, published in (("hu_resnet50", "CNN (Hu et al., ResNet-50)", None),
                               ("segformer", "Transformer (SegFormer, MiT-B2)", 27.5)):
    paper, lab = (models.count_parameters(models.create_model(name, scale=s)) / 1e6
                  for s in ("paper", "lab"))
    counts.append({"network": title, "published (M)": published, "paper scale (M)": paper,
                   "lab scale (M)": lab})
print(pd.DataFrame(counts).to_string(index=False, float_format="%.2f", na_rep="-"))

# %% [markdown]
# SegFormer's published 27.5 M includes a head for 150 classes; ours has one output, depth, and is a little smaller.
# Hu et al. print no count for their ResNet-50. The paper does not say which SegFormer it used. We take B2, the one
# whose encoder is nearest to a ResNet-50 in size.

# %% [markdown]
# ## Training, in ten lines
#
# A step: predict, compare, follow the gradient. The loss is SILog: the root mean square of the log-ratio, after most of
# its mean was taken out. With $g = \ln \hat d - \ln d$ over all valid pixels,
#
# $$L = 10\,\sqrt{\overline{g^2} - 0.85\,\bar g^{\,2}} .$$

# %%
def silog(prediction, target, mask):
    g = (prediction.log() - target.log())[mask]
    return 10 * torch.sqrt((g**2).mean() - 0.85 * g.mean() ** 2)


torch.manual_seed(0)
student, batch = models.create_model("segformer").train(), lesson.views("train")[:8]
optimizer, losses = torch.optim.AdamW(student.parameters(), lr=1e-3), []
for _ in range(lesson.pick(smoke=2, lab=12)):
    loss = silog(student(batch.image), batch.depth, batch.mask)
    optimizer.zero_grad(), loss.backward(), optimizer.step()
    losses.append(loss.item())
lesson.say(f"{len(losses)} steps on the same eight views brought the loss from {losses[0]:.2f} "
           f"to {losses[-1]:.2f}.")

# %% [markdown]
# `mdelib.train.fit` is this loop with what a result needs: views mirrored, turned and lit differently each time, a
# learning rate that rises and falls, averaged weights, and a state from which a stopped training goes on. Every random
# choice is drawn from the seed and the epoch, so the same seed gives the same network.
#
# `experiments/two_networks.yaml` says what both networks share and what differs. `lesson.results` loads the runs, or
# makes those that are missing.

# %%
results = lesson.results("two_networks")
titles = {"cnn": "CNN (Hu et al., ResNet-50)", "transformer": "Transformer (SegFormer)"}
figure, axis = figures.new_figure(height=2.6)
for index, (name, title) in enumerate(titles.items()):
    for nth, run in enumerate(r for r in results if r.variant == name):
        axis.plot([e["epoch"] for e in run.history], [e["loss"] for e in run.history], ("o-", "s--")[index],
                  color=figures.COLOURS[index], label=None if nth else title, alpha=0.8, ms=4)
axis.set(xlabel="epoch", ylabel="training loss (SILog)", xticks=[e["epoch"] for e in run.history])
axis.legend()
lesson.figure(figure, "training", "Training loss of both networks, one line a seed.", sources=results,
              alt="Falling loss curves of the CNN and the Transformer over epochs, several seeds each.")

# %% [markdown]
# ## How good are they?
#
# Accuracy first. A comparison of style between a good network and a bad one would say little.

# %%
MAIN = ["abs_rel", "rmse", "delta1"]
lesson.table(verdicts.summary(results, MAIN, titles), "accuracy",
             f"Accuracy on {lesson.info.title}, mean ± standard deviation over seeds. "
             "AbsRel and RMSE (m): lower is better; δ1: higher is better.", sources=results)
study = lesson.reference("two_networks", "nyu", "study")
if study:
    lesson.table(verdicts.summary(study, MAIN, titles), "accuracy_nyu",
                 "The same on real photographs: the committed reference study on NYU-Depth-v2 (Eigen crop).",
                 sources=study)

# %% [markdown]
# The paper's own first row of Table 1: RMSE 0.502 m for the Transformer, 0.555 m for the CNN. Those networks began with
# ImageNet weights and saw far more images at a higher resolution. Ours began with random numbers. So read the
# difference between our two networks, not the level.

# %% [markdown]
# ## Edges and smooth regions
#
# "Clearer structures", "smoother at boundaries", "unnatural transitions in smooth areas": three statements about
# places. First we need the places. A pixel is near an edge if the true log-depth jumps there (by some 15 %), and smooth
# if it is far from any jump. Depth is smoothed a little before, so that the steps of a depth file do not count as
# edges.

# %%
near_edge, smooth = edge_regions(shown.depth, shown.mask)
place = torch.where(near_edge, 2.0, torch.where(smooth, 1.0, 0.0))
figure, axes = figures.new_figure(1, len(shown), height=2.3, squeeze=False)
for axis, image, kind in zip(axes[0], shown.image, place):
    figures.show_image(axis, 0.55 + 0.45 * image.mean(0, keepdim=True).expand(3, -1, -1))
    axis.imshow(np.ma.masked_equal(kind[0], 0), cmap=figures.region_colours(), vmin=1, vmax=2, alpha=0.55)
lesson.figure(figure, "regions",
              "Where we measure: near depth edges (orange, along the outlines) and on smooth surfaces (blue, nearly "
              "all the rest). The pale rim between counts for neither.",
              alt="Views with orange bands along outlines and blue areas on walls, floors and tables.")

# %% [markdown]
# One cut through a view shows what the numbers will count. The true depth jumps at outlines. A sharp prediction jumps
# with it; a smooth one draws a ramp.

# %%
edges_in_row = near_edge[:, 0].float().mean(-1)
which = int(edges_in_row.max(1).values.argmax())
row = int(edges_in_row[which].argmax())
figure, axis = figures.new_figure(height=2.9)
truth = shown.depth[which, 0, row].where(shown.mask[which, 0, row], torch.nan)
axis.plot(truth, color="0.3", lw=3, label="truth")
for index, (name, title) in enumerate(titles.items()):
    axis.plot(maps[name][which, 0, row], ("-", "--")[index], color=figures.COLOURS[index], label=title)
axis.set(xlabel="column (pixels)", ylabel="depth (m)")
axis.legend()
lesson.figure(figure, "profile", f"Depth along one row of view {which + 1} above.", sources=results,
              alt="Depth against column: the truth in steps, both predictions as ramps between them.")

# %% [markdown]
# Three measures stand for the caption, the last two for Section 3.1. They are our choice: the paper shows pictures.
#
# | measure | what it is | the claim, if true |
# |---|---|---|
# | `edge_f1` | agreement of predicted and true depth edges (Hu et al. 2019) | Transformer higher |
# | `abs_rel_smooth` | AbsRel on smooth surfaces | Transformer lower |
# | `edge_sharpness` | predicted slope over true slope at true edges; 1 is as sharp as the truth | Transformer higher |
# | `roughness` | how much the prediction bends on smooth surfaces | Transformer higher |
# | `gradient_error_smooth` | error of the depth gradient on smooth surfaces | Transformer higher |
#
# RMSE comes sixth, from the paper's Table 1. The difference is paired: same seeds, same views. Its 95 % interval comes
# from a bootstrap over both. Two trainings say little about how trainings differ, so take the intervals as rough.

# %%
claims = papers.load_claims("yao2023")
ours = [claim for claim in claims if claim.notebook == "02"]
findings = [finding for claim in ours for finding in verdicts.judge(claim, results)]


def three_digits(found, runs):
    table = verdicts.findings_table(found, runs).drop(columns="compared")
    numbers = {name: table[name].map("{:#.3g}".format) for name in ("first", "second", "difference")}
    return table.assign(**numbers).rename(columns={"first": "Transformer", "second": "CNN"})


lesson.table(three_digits(findings, results), "verdicts",
             f"The claims on {lesson.info.title}: Transformer minus CNN; n is seeds × views.",
             sources=results)

# %%
study_findings = [finding for claim in ours for finding in verdicts.judge(claim, study)]
if study:
    lesson.table(three_digits(study_findings, study), "verdicts_nyu",
                 "The same claims on real photographs, from the committed reference study.", sources=study)

# %%
panels = [(lesson.info.title, findings, results)]
panels += [("NYU, reference study", study_findings, study)] if study else []
figure, axes = figures.new_figure(1, len(panels), height=2.8, squeeze=False, sharex=True, sharey=True)
for axis, (title, found, runs) in zip(axes[0], panels):
    level = [np.mean([r.metrics[f.measure] for r in runs if r.variant == f.second]) / 100 for f in found]
    figures.interval_plot(axis, [f"{f.measure} {'→' if f.direction == 'greater' else '←'}" for f in found],
                          [f.difference / one for f, one in zip(found, level)],
                          [(f.interval[0] / one, f.interval[1] / one) for f, one in zip(found, level)])
    axis.set(title=title, xlabel="Transformer minus CNN (% of the CNN's value)")
lesson.figure(figure, "intervals",
              "Every difference with its 95 % interval. Left of zero, the CNN's value is higher. The arrow beside a "
              "measure says on which side of zero the claim expects it.",
              sources=[*results, *study],
              alt="Points with horizontal intervals for six measures around a zero line.")

# %% [markdown]
# ## How far do 795 photographs carry?
#
# The two networks above were chosen to be alike, not to be good. NYU has only 795 training photographs, and ours have
# seen nothing else. What can be had from so few? We tried Hu et al.'s decoder on a wider, shallower encoder
# (ResNet-18), then a U-Net over the first blocks of a MobileNetV3, with stronger changes of light in training.
#
# The U-Net's second version makes more of each photograph: colours turn and fade, views are enlarged by up to 30 %. It
# also trains for twice as many epochs, so the table cannot say which of the two helps. All was chosen on training
# photographs that were held out. But the later rows were designed after the test numbers of the earlier ones had been
# seen.

# %%
scratch = lesson.reference("from_scratch")
rows = []
for name, found in (("two_networks", study), ("from_scratch", scratch)):
    titles = {variant: entry.title for variant, entry in load_experiment(name).variants.items()}
    for result in {r.variant: r for r in found}.values():
        mine = [r for r in found if r.variant == result.variant]
        row = verdicts.summary(mine, ["delta1", "rmse", "abs_rel"], {result.variant: titles[result.variant]})
        rows.append(row.assign(**{"million weights": f"{result.provenance['parameters'] / 1e6:.1f}",
                                  "minutes to train": f"{np.mean([r.minutes for r in mine]):.0f}"}))
if rows:
    lesson.table(pd.concat(rows, ignore_index=True), "from_scratch", "NYU's test images, every network from random "
                 "weights, from the reference study. Minutes passed on one core that had other work, too: compare "
                 "them loosely. Rows without ± are a single training.", sources=[*study, *scratch])

# %%
if scratch:
    best = min(scratch, key=lambda result: result.metrics["rmse"])
    lesson.say(f"How far? To an RMSE of {best.metrics['rmse']:.3f} m, in one training. The paper's CNN, quoted above, "
               "is far ahead: it began with ImageNet weights and saw more photographs.")

# %% [markdown]
# ## What we had to decide
#
# - **The loss.** The paper trains with Hu et al.'s loss (depth, gradient and normal). We use SILog for both networks,
#   because it trains well from random weights. `loss: hu` in the experiment file tries the other.
# - **The schedule.** Batch, learning rate and augmentation were chosen on a part of the training images that was held
#   out, with a third network (METER), and are the same for both. The test images chose nothing.
# - **What "structure" and "smooth" mean.** The paper shows pictures. We name five measures and report all of them,
#   also those that speak against each other.
# - **The resolution at which edges are measured.** The networks' own. At the photograph's full size, every prediction of
#   a small network is a blur, and both would look alike.

# %% [markdown]
# ## Verdict

# %%
def in_words(found):
    counts = pd.Series([f.verdict for f in found]).value_counts()
    return ", ".join(f"{n} × *{v}*" for v, n in counts.items())


lesson.say(f"On {lesson.info.title}: {in_words(findings)} (of {len(findings)} measures).")
if study:
    lesson.say(f"On NYU, in the reference study: {in_words(study_findings)} (of {len(study_findings)} measures).")
    clear = [(f.measure, f.difference * s.difference > 0) for f, s in zip(findings, study_findings)
             if "inconclusive" not in (f.verdict, s.verdict)]
    for alike, words in ((True, "The same sign on both"), (False, "Opposite signs")):
        names = ", ".join(f"`{name}`" for name, same in clear if same == alike)
        lesson.say(f"{words}, clear of zero: {names or 'no measure'}.")
lesson.say("A difference in kind would show on both, in the same direction. "
           "These are small networks trained from random weights, with few seeds. They speak about the two "
           "architectures at this size; a network that began with ImageNet weights may differ, and "
           "`scale=\"paper\"` is there to ask it.")

# %% [markdown]
# ## Exercises
#
# **1. A sharpness that fails.** The total variation of a row of depth is the sum of the absolute differences between
# neighbours. Write that of the prediction over that of the truth. Before you run it: let the truth be a step, and the
# prediction once the same step, once a slow ramp between the same two depths. What is your number in either case? Why
# does `edge_sharpness` look only at the edges?

# %%
def my_sharpness(prediction, target):
    """Total variation of a prediction (W,) over that of the truth (W,)."""
    # <solution>
    return prediction.diff().abs().sum() / target.diff().abs().sum()
    # </solution>


check.total_variation(my_sharpness)

# %% [markdown]
# **2. A window that grows.** A stack of convolutions with kernel size $k_i$ and stride $s_i$ sees a window of
# $1 + \sum_i (k_i - 1) \prod_{j<i} s_j$ pixels. Write it. Then count the layers that a 3×3 network of stride 1 would
# need to see 128 pixels.

# %%
def my_window(kernels, strides):
    """Side of the window, in pixels, that one output of a stack of convolutions sees."""
    # <solution>
    window, step = 1, 1
    for kernel, stride in zip(kernels, strides):
        window, step = window + (kernel - 1) * step, step * stride
    return window
    # </solution>


check.receptive_window(my_window)

# %% [markdown]
# **3. Open.** The profile above is one row of one view. Find a view where the Transformer is sharper than the CNN, and
# one where it is not. How would you choose views for a figure without fooling yourself?

# %% [markdown]
# ## What to read next
#
# Notebook 03 asks what a single unit of a network says about depth. Notebook 05 asks which pixels each of these two
# networks looks at, which is the experiment that yao2023 does next. For the receptive field: Luo et al., *Understanding
# the effective receptive field in deep convolutional neural networks* (2016).
