# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 · Depth from sparse pixels
#
# Cover most of a photograph. If a network still sees the same depth, it did not need what you covered. Hu, Zhang and
# Okatani ([ICCV 2019](https://arxiv.org/abs/1904.03380)) turned this into a method: train a second network that
# decides which pixels may stay.
#
# Yao, Wu and Zhang ([yao2023](https://arxiv.org/abs/2308.08333)) use it to compare a CNN with a Transformer. They say
# that both get worse as more is covered, that the Transformer gets worse more slowly (Table 1, Figure 5), and that it
# looks at the boundaries of objects (Figures 3 and 7). And they swap the masks: what does the Transformer see in the
# pixels that the CNN asked for (Eq 7 and 8)?
#
# **Three questions.** Do these findings hold here? Is a learnt mask better than a random one? And the one behind both:
# does a mask show what a network *needs*?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import pandas as pd
import torch
from torch import nn

from mdelib import course, evaluation, figures, papers, sparse_figures, verdicts
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.losses import hu_loss
from mdelib.models import count_parameters
from mdelib.sparse import (MaskNetwork, binarize, depth_edge_pixels, image_edge_pixels, image_gradient, keep_fraction,
                           masked_image, overlap, random_pixels, sparse_objective)
from mdelib.widgets import explore

lesson = course.start("05", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## First the picture
#
# Two networks from notebook 02, a CNN and a Transformer. Here is a view, what stays of it under three kinds of masks,
# and what each network makes of the rest. All three masks keep the same number of pixels. The third one knows the true
# depth.

# %%
NAMES = {"cnn": "CNN", "transformer": "Transformer"}
nets = {name: lesson.network("two_networks", name).requires_grad_(False).cpu() for name in NAMES}
definition = load_experiment("sparse_pixels")
SETTINGS = definition.resolve("cnn_1", data, lesson.scale)
views = lesson.views("test", size=SETTINGS.size)
room = views[[lesson.pick(smoke=1, lab=18)]]
CHOICES = {"random pixels": lambda share: random_pixels(room.image, share),
           "edges of the picture": lambda share: image_edge_pixels(room.image, share),
           "edges of the depth": lambda share: depth_edge_pixels(room.depth, share, room.mask)}


def depth_of(name, image, mask=None):
    """What a network sees in images, or in what a mask leaves of them."""
    return evaluation.predict(nets[name], image if mask is None else masked_image(image, mask, nets[name]))


# %%
entire = {name: depth_of(name, room.image)[0] for name in NAMES}  # once: a slider should answer in 200 ms


def draw(share, choice):
    mask = CHOICES[choice](share / 100)
    row = {"what is left": masked_image(room.image, mask, nets["cnn"])[0], "ground truth": room.depth[0],
           **{f"{title},\nall of it": entire[name] for name, title in NAMES.items()},
           **{f"{title},\nthe rest": depth_of(name, room.image, mask)[0] for name, title in NAMES.items()}}
    return figures.image_rows([row], height=1.5)


explore(draw, {"share": [2, 5, 10, 25, 50, 75], "choice": list(CHOICES)},
        [{"share": 25, "choice": choice} for choice in CHOICES], lesson=lesson, name="cover",
        caption="{share} % of the pixels, {choice}.",
        alt="A room with {share} % of its pixels left ({choice}), and five depth maps.")

# %% [markdown]
# A covered pixel is not black. It gets the mean colour $\mu$ of photographs, which a network's normalisation turns into
# zero:
#
# $$I' = \mu + M\,(I - \mu) .$$
#
# A mask $M$ may also hold shares between 0 and 1. A pixel of 0.3 keeps three tenths of its contrast.
#
# What is a fair zero point? A network with its eyes shut. Give it the mean colour everywhere.

# %%
def error(depth, truth):
    """RMSE against the truth, pooled as the experiment's protocol pools it."""
    scores = evaluation.score_images(depth, truth.depth, truth.mask, SETTINGS.protocol)
    return evaluation.pooled(scores, SETTINGS.protocol)["rmse"]


few = views[list(range(0, len(views), lesson.pick(smoke=1, lab=4)))]
full = {name: depth_of(name, few.image) for name in NAMES}
nothing = torch.zeros_like(few.depth)
shut = {name: depth_of(name, few.image, nothing) for name in NAMES}
row = {"ground truth": room.depth[0], **{f"{title}, eyes shut": shut[name][0] for name, title in NAMES.items()}}
lesson.figure(figures.image_rows([row], height=2.2), "shut", "A room, and what each network answers to a "
              "picture of one colour.", alt="A depth map and two smooth maps without objects.")

# %%
RANGE = {name: float(hu_loss(shut[name], full[name]) - hu_loss(full[name], full[name])) for name in NAMES}
rows = [{"network": title, "RMSE, eyes open (m)": error(full[name], few), "eyes shut (m)": error(shut[name], few),
         "L_dif, open": float(hu_loss(full[name], full[name])), "L_dif, shut": float(hu_loss(shut[name], full[name])),
         "range of L_dif": RANGE[name]} for name, title in NAMES.items()]
lesson.table(pd.DataFrame(rows), "range", f"Errors against the truth, and the loss of the next section, on {len(few)} "
             "test views.")

# %%
blind = {title: error(shut[name], few) / error(full[name], few) - 1 for name, title in NAMES.items()}
lesson.say("Keep these numbers in mind. Without any picture the error grows by "
           + " and ".join(f"{share:.0%} ({title})" for title, share in blind.items())
           + ". Rooms resemble each other, and small networks do not read much more than that from a picture.")

# %% [markdown]
# ## What a mask is trained for
#
# Eq 5: the depth of the covered picture should be that of the whole picture, and the mask should be small.
#
# $$\min_M \; L_{dif}\big(N(I),\, N(I \odot M)\big) + \lambda\, \overline{M}$$
#
# $N$ is fixed. Its own depth is the target; the true depth plays no part. $\overline{M}$ is the mean of the mask.
# $L_{dif}$ is Hu et al.'s loss (notebook 01) with terms for depth, slopes along x and y, and normals. When both depth
# maps agree it is $3 \ln \frac12$, its least value. (The paper divides by the "number of sparse pixels", which would
# make the second term constant for a binary mask. Hu et al.'s code takes the mean over all pixels, and so do we.)

# %%
def my_objective(network, image, mask, lam):
    """Eq 5 for images (B, 3, H, W) and masks (B, 1, H, W)."""
    whole, covered = network(image), network(masked_image(image, mask, network))
    return hu_loss(covered, whole.detach()) + lam * mask.mean()


# %%
def free_mask(network, image, lam, steps=150, start=1.0):
    """A mask for each image by itself: every pixel has a logit, and Adam moves the logits."""
    logits = torch.full_like(image[:, :1], start, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        my_objective(network, image, logits.sigmoid(), lam).backward()
        adam.step()
    return logits.sigmoid().detach()


same = my_objective(nets["cnn"], few.image, nothing + 0.5, 3.0)
theirs = sparse_objective(depth_of("cnn", few.image, nothing + 0.5), full["cnn"], nothing + 0.5, 3.0)
print("equal to the library:", torch.allclose(same, theirs, rtol=1e-4))

# %% [markdown]
# Does it find what is needed where we know the answer? Here is a toy network. It reads the brightness inside a disc and
# ignores the rest of the picture. The right mask is the disc.

# %%
class Disc(nn.Module):
    """Depth is 1 m plus 8 m times the brightness inside a disc, and 3 m outside."""

    def __init__(self, size):
        super().__init__()
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
        self.register_buffer("disc", (x.square() + y.square() < 0.3)[None, None])
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))

    def forward(self, image):
        return torch.where(self.disc, 1 + 8 * image.mean(1, keepdim=True), 3.0)

# %%
toy = Disc(room.image.shape[-2:]).eval()
speckles = torch.rand(1, 3, *room.image.shape[-2:])
found = free_mask(toy, speckles, 0.5, steps=lesson.pick(smoke=20, lab=200))
row = {"the picture": speckles[0], "mask, right": toy.disc[0].float(), "mask, found": found[0]}
lesson.figure(figures.image_rows([row], height=2.0), "toy", "A toy whose answer is known. White is kept.",
              alt="Noise, a white disc, and a grey disc that was found.")
inside = float(overlap(found, toy.disc)["auc"])
lesson.say(f"A pixel inside the disc has a larger value than one outside in {inside:.1%} of all pairs. The method works "
           "when every pixel speaks for itself.")

# %% [markdown]
# ## A mask for one picture
#
# Now a real network, one view, and a few values of λ.

# %%
LAMBDAS = lesson.pick(smoke=[1, 5], lab=[1, 3, 5])
steps = lesson.pick(smoke=3, lab=150)
free = {lam: free_mask(nets["transformer"], room.image, lam, steps) for lam in LAMBDAS}
free["5, from dark"] = free_mask(nets["transformer"], room.image, 5, steps, start=-3.0)
rows = [{"mask": mask[0], "what is left": masked_image(room.image, mask, nets["transformer"])[0],
         "depth, all of it": depth_of("transformer", room.image)[0],
         "depth, the rest": depth_of("transformer", room.image, mask)[0]} for mask in free.values()]
lesson.figure(figures.image_rows(rows), "free", "Masks that were found for this one view, Transformer. Rows: λ = "
              + "; ".join(map(str, free)) + ". The last one began with nearly all pixels covered.",
              alt="Speckled masks, faint pictures, and depth maps that look alike.")

# %%
whole = depth_of("transformer", room.image)


def distance(depth):
    return float((depth - whole).square().mean().sqrt())


rows = []
for lam, mask in free.items():
    veil, quarter = mask.mean().expand_as(mask), keep_fraction(mask, 0.25)
    seen = {"this mask": mask, "a veil as faint": veil, "its best 25 %": quarter,
            "random 25 %": random_pixels(room.image, 0.25)}
    rows.append({"λ": str(lam), "sparseness": float(mask.mean()),
                 **{name: distance(depth_of("transformer", room.image, one)) for name, one in seen.items()},
                 "this mask, CNN": float((depth_of("cnn", room.image, mask) - depth_of("cnn", room.image))
                                         .square().mean().sqrt())})
lesson.table(pd.DataFrame(rows), "free_numbers", "How far the depth moves when the view is covered (RMSE against the "
             "network's own depth of the whole view, m). Sparseness is the mean of the mask: small is sparse.")

# %%
sparsest = free["5, from dark"]
lesson.say(f"With {float(sparsest.mean()):.0%} of the contrast left, chosen well, the Transformer's depth moves by "
           f"{distance(depth_of('transformer', room.image, sparsest)):.2f} m. A veil of the same faintness moves it by "
           f"{distance(depth_of('transformer', room.image, sparsest.mean().expand_as(sparsest))):.2f} m.")

# %%
borders = image_edge_pixels(room.image, 0.25)
best = {lam: keep_fraction(free[lam], 0.1).bool() for lam in (5, "5, from dark")}
shared = float((best[5] & best["5, from dark"]).sum() / best[5].sum())
lesson.say("**This should worry you.** The masks are speckles. They do not follow edges: the mask is larger at a pixel on "
           "an edge of the picture than at another one in only " + ", ".join(
               f"{float(overlap(mask, borders)['auc']):.0%}" for mask in free.values()) + " of all pairs (row by row; "
           f"50 % would be chance). Another start gives another mask: the best tenths of the last two share {shared:.0%} "
           "of their pixels (10 % would be chance). And the CNN cannot read them.")

# %% [markdown]
# With a logit for every pixel, one does not find the pixels that the network needs. One finds a code that happens to
# move it in the right way. Adversarial patterns do the same: tiny changes of a picture, made to steer a network.
#
# So "the pixels that $N$ needs" is no property of $N$ and $I$ alone. It depends on which masks are allowed. Hu et al.
# saw this; it is why the mask must come out of a network.
#
# ## A network that makes masks
#
# Eq 6: train $M = G(I)$ over many pictures. $G$ cannot remember a code for each of them, and its convolutions prefer
# smooth masks. Hu et al. use a dilated ResNet (DRN-D-22) and three up-projections.

# %% tags=["nbval-check-output"]
counts = {scale: count_parameters(MaskNetwork(scale)) / 1e6 for scale in ("paper", "lab")}
print(f"G at paper scale {counts['paper']:.2f} M parameters, at lab scale {counts['lab']:.2f} M")

# %%
results = lesson.results("sparse_pixels")
study, meter = lesson.reference("sparse_pixels"), lesson.reference("sparse_meter")
GRID = [1, 5]
masks = {}
for name in NAMES:
    for lam in GRID:
        generator, _ = lesson.masks("sparse_pixels", f"{name}_{lam}")
        with torch.no_grad():
            masks[name, lam] = generator.cpu()(views.image)

# %% [markdown]
# Figures 3 and 7 of the paper, with our networks. White is kept.

# %%
gradient = image_gradient(room.image)[0]
place = lesson.pick(smoke=1, lab=18)
rows = []
for lam in GRID:
    row = {"the picture": room.image[0], "gradient": gradient / gradient.max()}
    row |= {f"mask,\n{NAMES[name]}": masks[name, lam][place] for name in NAMES}
    row |= {f"{NAMES[name]},\nthe rest": depth_of(name, room.image, masks[name, lam][[place]])[0] for name in NAMES}
    rows.append(row)
lesson.figure(figures.image_rows(rows, depth_limits=tuple(room.depth[room.mask].quantile(torch.tensor([0.01, 0.99])))),
              "masks", "Rows: λ = 1, 5. Masks that G makes, and depth from what they leave.", sources=results,
              alt="Two rows of a room, its gradient, two masks and two depth maps.")

# %%
rows = []
for (name, lam), mask in masks.items():
    flat = mask.flatten(1)
    rows.append({"network": NAMES[name], "λ": lam, "sparseness": float(mask.mean()),
                 "spread inside a mask": float(flat.std(1).mean()), "spread between masks": float(flat.mean(1).std()),
                 "pixels from 0.1 to 0.9": float(((mask > 0.1) & (mask < 0.9)).float().mean()),
                 "pixels above 0.5": float(binarize(mask).float().mean())})
lesson.table(pd.DataFrame(rows), "veils", f"The masks of {len(views)} test views. A mask that chooses has a spread near "
             "0.5 and no pixels between 0.1 and 0.9; a veil has a spread near 0.", sources=results)

# %% [markdown]
# Compare with the paper's Figure 7. There, masks choose. Here, the Transformer's masks *veil*: the whole picture loses
# contrast. The CNN's are a blob without objects, or they vanish. Nothing in Eq 5 asks for a choice.
#
# Why would a veil be cheap for a Transformer? Its layer norm divides every token by that token's own spread, and so
# undoes much of a loss of contrast. The batch norm of a trained CNN divides by fixed numbers and undoes nothing.
#
# Turn λ yourself. The number over a mask is its sparseness.

# %%
SHOWN = sorted({run.parameters["sparse"]["lam"] for run in results})
some = views[list(range(0, len(views), lesson.pick(smoke=2, lab=20)))]
with torch.no_grad():
    made = {(name, lam): lesson.masks("sparse_pixels", f"{name}_{lam:g}")[0].cpu()(some.image)
            for name in NAMES for lam in SHOWN}
unmasked = {name: depth_of(name, some.image) for name in NAMES}


def draw_mask(λ, network, view):
    image, mask = some.image[[view]], made[network, λ][[view]]
    row = {"the picture": image[0], f"mask: {float(mask.mean()):.2f}": mask[0],
           "what is left": masked_image(image, mask, nets[network])[0],
           "depth, all of it": unmasked[network][view], "depth, the rest": depth_of(network, image, mask)[0]}
    return figures.image_rows([row], height=1.6)


# %%
explore(draw_mask, {"λ": SHOWN, "network": list(NAMES), "view": list(range(len(some)))},
        [{"λ": lam, "network": "transformer", "view": 1} for lam in (SHOWN[0], SHOWN[-1])], lesson=lesson,
        name="turn", caption="View {view}: the mask that G makes for the {network} at λ = {λ:g}, and what it leaves.",
        alt="A room, a mask, the room under the mask, and the depth of both, for the {network} at λ = {λ:g}.")

# %% [markdown]
# ## All or nothing
#
# Why does a mask vanish at some λ? Compare the two extreme masks. Keeping everything costs $\lambda$. Keeping nothing
# costs the range of $L_{dif}$ that we measured with eyes shut. So when λ is larger than that range, an empty mask beats
# a full one.

# %%
printed = papers.load_table("yao2023", "table1").pivot(index="row", columns="column", values="value")
LAM = [1, 2, 3, 4, 5, 6]
shares = torch.linspace(0, 1, 11)[1:]
curves = {NAMES[name]: [float(hu_loss(depth_of(name, few.image, torch.full_like(nothing, float(s))), full[name]))
                        for s in shares] for name in NAMES}
chosen = {NAMES[name]: [float(hu_loss(depth_of(name, few.image, random_pixels(few.image, float(s))), full[name]))
                        for s in shares] for name in NAMES}
ends = {NAMES[name]: (float(hu_loss(shut[name], full[name])), float(hu_loss(full[name], full[name]))) for name in NAMES}
lesson.figure(sparse_figures.cost_of_covering(shares, {"a veil": curves, "random pixels": chosen}, ends),
              "covering", f"What covering costs in L_dif, on {len(few)} views. Dotted: the way from eyes open to eyes "
              "shut in a straight line.", alt="Two panels, CNN and Transformer; falling curves of L_dif over the share "
              "that is kept, and a straight line.")

# %%
half = {name: curves[title][4] - 0.5 * float(hu_loss(shut[name], full[name]) + hu_loss(full[name], full[name]))
        for name, title in NAMES.items()}
lesson.say("A veil that keeps half of the contrast lies " + " and ".join(
    f"{abs(half[name]):.2f} {'above' if half[name] > 0 else 'below'} the straight line ({title})"
    for name, title in NAMES.items()) + ".")
dearer = {title: sum(a > b for a, b in zip(chosen[title], curves[title])) for title in NAMES.values()}
lesson.say("Random pixels cost more than a veil at " + " and ".join(
    f"{count} of {len(shares) - 1} shares under 1 ({title})" for title, count in dearer.items()) + ".")

# %% [markdown]
# The shape decides. Where a curve bends *above* the line, half a mask is worse than the better one of its ends, at
# every λ: all or nothing. Where it sags *below*, each λ has a faintness that suits it, and masks fade slowly as λ
# grows. And where random pixels cost more than a veil, a mask maker that begins with noise has every reason to veil.
#
# What do the paper's networks look like in this light?

# %%
implied = {name: max(lam * printed.loc[f"lambda = {lam}", f"{name}_sparseness"] for lam in LAM) for name in NAMES}
lesson.say("The range is " + " and ".join(f"{RANGE[name]:.2f} ({NAMES[name]})" for name in NAMES) + " here. From the "
           "paper's Table 1 follows what theirs must be at least, if its masks do better than an empty one: a mask that "
           "keeps a share s at λ is only worth its price if an empty mask costs λs more. Over the rows that demands "
           + " and ".join(f"{implied[name]:.2f} ({NAMES[name]})" for name in NAMES)
           + ". Their networks lose more without a picture than ours, so the same λ bites harder here. **Compare "
           "curves of error over sparseness, never rows of equal λ.**")

# %% [markdown]
# ## Table 1 and Figure 5
#
# RMSE over sparseness. The dashed curves are ours: a veil that is as faint as the mask and chooses nothing. What lies
# between a mask and its veil is what choosing is worth.

# %%
panels = {lesson.info.title: results, **({"NYU, reference study": study} if study else {})}
lesson.figure(sparse_figures.error_over_sparseness(panels, NAMES, printed), "fig5", "Error over sparseness. Full lines: "
              "masks by G. Dashed: veils as faint. Points at 1: the whole picture. Right: the paper's Table 1.",
              sources=[*results, *study], alt="Panels of RMSE over sparseness, two colours for two networks.")

# %%
def table1(runs):
    rows = []
    for name, title in NAMES.items():
        for variant in (v for v in definition.variants if v.startswith(f"{name}_")):
            mine = [run for run in runs if run.variant == variant]
            if not mine:
                continue
            lam = variant.split("_")[1]
            theirs = printed.loc[f"lambda = {lam}"] if f"lambda = {lam}" in printed.index else {}
            mean = verdicts.summary(mine, ["sparseness", "rmse", "rmse_uniform", "rmse_full"], {variant: title})
            rows.append({"network": title, "λ": lam, "sparseness, paper": theirs.get(f"{name}_sparseness"),
                         "RMSE, paper": theirs.get(f"{name}_rmse"), **mean.iloc[0, 1:].to_dict()})
    return pd.DataFrame(rows).rename(columns={"rmse": "RMSE", "rmse_uniform": "veil", "rmse_full": "whole picture"})

# %%
lesson.table(table1(results), "table1", f"Table 1: the paper on NYU, ours on {lesson.info.title}. RMSE in metres.",
             sources=results)
if study:
    lesson.table(table1(study), "table1_nyu", "Table 1: the paper and ours, both on NYU. RMSE in metres.",
                 sources=study)

# %%
worth = {place: sorted((run.metrics["rmse_uniform"] - run.metrics["rmse"], run.metrics["sparseness"]) for run in runs)
         for place, runs in panels.items()}
lesson.say("What choosing is worth, one seed each: " + "; ".join(
    f"{gains[0][0]:+.3f} to {gains[-1][0]:+.3f} m, most at a sparseness of {gains[-1][1]:.2f} ({place})"
    for place, gains in worth.items()) + ".")

# %% [markdown]
# ## Swapping masks (Eq 7 and 8)
#
# Do both networks ask for the same pixels? Make the masks binary and show each to the other network. The paper does not
# say where it cuts. A fixed threshold would give the two masks different numbers of pixels, and the fuller one would
# win. We keep the best 10, 25 and 50 % of each, and put three masks beside them that nobody trained. We take the masks
# of λ = 1, because a mask that has vanished has no best pixels.

# %%
lesson.figure(sparse_figures.exchange(panels, NAMES, lam=1), "exchange", "RMSE from the best pixels of the masks of λ = "
              "1, and from as many pixels that were chosen without a mask network (\"edges of the depth\" knows the "
              "true depth). Dotted: the whole picture. Each row has its own RMSE axis.", sources=[*results, *study],
              alt="For each data set and network, lines of RMSE over the share of pixels kept, one line a choice.")

# %%
def swapped(runs, place, lam=1):
    """Own mask minus the other network's mask, and minus random pixels; positive: the own mask is worse."""
    by = {(run.variant, run.seed): run.per_image for run in runs}
    rows = []
    for name, other in (("cnn", "transformer"), ("transformer", "cnn")):
        seeds = [s for v, s in by if v == f"{name}_{lam}" and (f"{other}_{lam}", s) in by]
        for share in (10, 25, 50) if seeds else ():
            own = [by[f"{name}_{lam}", s][f"rmse_mask_{share}"] for s in seeds]
            rivals = {"the other's mask": [by[f"{other}_{lam}", s][f"rmse_other_{share}"] for s in seeds],
                      "random pixels": [by[f"{name}_5", s][f"rmse_random_{share}"] for s in seeds]}
            for rival, theirs in rivals.items():
                gap, (low, high) = verdicts.paired_interval(own, theirs)
                rows.append({"data": place, "network": NAMES[name], "kept (%)": share, "own mask minus": rival,
                             "RMSE (m)": gap, "95 % interval": f"{low:+.3f} to {high:+.3f}"})
    return rows

# %%
gaps = pd.DataFrame([row for place, runs in panels.items() for row in swapped(runs, place)])
lesson.table(gaps, "swapped", "Mean paired difference per view. Below zero: the own mask serves the network better. "
             "The intervals are over views" + (" and seeds." if len({run.seed for run in study}) > 1 else "."),
             sources=[*results, *study])

# %%
worse = gaps[(gaps["own mask minus"] == "random pixels") & (gaps["RMSE (m)"] > 0)]
clear = worse["95 % interval"].str.startswith("+").sum()
edges = {(place, name): (run.metrics["rmse_image_edges_25"], run.metrics["rmse_random_25"])
         for place, runs in panels.items() for name in NAMES for run in runs if run.variant == f"{name}_5"}
lesson.say(f"In **{len(worse)} of {len(gaps) // 2}** comparisons, pixels drawn at random serve a network better than the "
           f"best pixels of its own mask; in {clear} of them the interval is above zero. One seed each. And the edges of "
           "the picture? At 25 %: "
           + "; ".join(f"{NAMES[name]}, {place}: {edge:.2f} m from edges, {blind:.2f} m from random pixels"
                       for (place, name), (edge, blind) in edges.items()) + ".")

# %% [markdown]
# Where random pixels win, a likely reason is that they lie everywhere. A picture is smooth, so a network can fill the
# gaps. Edge pixels lie in clumps and leave large areas of mean colour. What is sure: **a mask is scored on pictures that
# $N$ never saw in training.** Its error mixes two things: what is missing, and how odd the rest looks.
#
# ## Where do the networks look?
#
# The paper's Figures 3 and 7 are read by eye: the Transformer's mask follows boundaries. Here is the same as a number,
# the AUC that was used above: how often is the mask larger at a pixel of the region than at one outside? 0.5 means that
# it does not care.

# %%
lesson.figure(sparse_figures.where_masks_lie(panels, NAMES), "where", "AUC of masks with three kinds of edges, over λ. "
              "Dotted: the image gradient in the place of the mask. Rooms know their objects' borders; NYU's are "
              "left out.", sources=[*results, *study], alt="AUC over λ, one panel a kind of edge, around a line at 0.5.")

# %%
both = [(place, NAMES[run.variant.split("_")[0]], run) for place, runs in panels.items() for run in runs
        if run.variant.endswith("_1")]
lesson.say("With the edges of the depth, at λ = 1: " + "; ".join(
    f"{title}, {place}: the mask {run.metrics['auc_depth_edges']:.2f}, the plain gradient of the picture "
    f"{run.metrics['auc_depth_edges_of_gradient']:.2f}" for place, title, run in both) + ".")

# %% [markdown]
# ## Verdict
#
# The measures: `rmse` is the error under the mask. `rmse_mask_25` is that from the best 25 % of its pixels,
# `rmse_other_25` that from the best 25 % of the other network's mask. `change` is how far the depth moves from that of
# the whole picture. A difference is the mean over views. *First* and *second* are pooled as each data set's protocol
# pools, so their gap can be another number.

# %%
claims = [claim for claim in papers.load_claims("yao2023") if claim.notebook == "05"]
found = {place: [finding for claim in claims for finding in verdicts.judge(claim, runs)]
         for place, runs in panels.items()}
for (place, findings), name in zip(found.items(), ("verdicts", "verdicts_nyu")):
    lesson.table(verdicts.findings_table(findings, panels[place]), name, f"The claims on {place}, with paired 95 % "
                 "intervals; n is seeds × views. One seed gives no verdict.", sources=panels[place])

# %%
rows = [{"claim": f"{claim.place}: {claim.states}", **{place: ", ".join(
    f"{count} {word}" for word, count in pd.Series([f.verdict for f in findings if f.claim == claim],
                                                   dtype=object).value_counts().items()) or "not tested"
    for place, findings in found.items()}} for claim in claims if claim.evidence]
lesson.table(pd.DataFrame(rows), "claims", "The claims in the paper's words, and how many measures say what.",
             sources=[*results, *study])

# %%
lesson.say(f"""What needed no claim. With a logit for every pixel, {float(sparsest.mean()):.0%} of a picture's contrast
was enough to bring the Transformer's depth back to within
{distance(depth_of('transformer', room.image, sparsest)):.2f} m. No mask of G comes near that. In {clear} of
{len(gaps) // 2} comparisons random pixels are clearly better than the best of a mask. **A mask shows what one mask
maker, with one λ, got away with. It does not show what the network needs.**""")

# %% [markdown]
# ## METER, with its authors' weights
#
# Are our networks too poor for this? METER-XXS with the released weights is a published network with a known error.
# Here is the same mask network for it.

# %%
if meter:
    titles = {run.variant: load_experiment("sparse_meter").variants[run.variant].title for run in meter}
    columns = {"sparseness": "sparseness", "rmse_full": "whole picture", "rmse": "mask", "rmse_uniform": "veil",
               "rmse_mask_25": "best 25 %", "auc_image_edges": "AUC, picture's edges",
               "auc_depth_edges": "AUC, depth's edges"}
    lesson.table(verdicts.summary(meter, list(columns), titles).rename(columns=columns), "meter",
                 "METER-XXS on NYU. RMSE in metres from the whole picture, the mask, its veil and its best 25 %; AUC of "
                 "the mask with edges.", sources=meter)
    one = meter[0].metrics
    lesson.say(f"The mask is {one['rmse_uniform'] - one['rmse']:.3f} m better than its veil. Its best 25 % of the pixels "
               f"leave {one['rmse_mask_25'] / one['rmse_full']:.1f} times the error of the whole picture. One seed.")
else:
    lesson.say("The reference study of METER's masks is not yet made: `make study` makes it.")

# %% [markdown]
# ## What we had to decide
#
# - **Sparseness** is the paper's word for the mean of the mask, where 1 is the whole picture.
# - **Which column is which.** The head of Table 1 is damaged in print. The caption's order and Figure 5 say that the
#   left pair is the Transformer.
# - **What covers a pixel**: the mean colour, as in Hu et al.'s code. Black would be a colour.
# - **The cut** for Eq 7 and 8: equal shares. The paper has none.
# - **λ**: of the paper's 1 to 6 we take 1 and 5 on rooms; 1, 3 and 5 on NYU, and 0.3 because of the range.
# - **The size of G**: ours is the small one counted above, from random weights, also on NYU. Hu et al.'s large one
#   starts from ImageNet. It may choose better. `scale="paper"` asks.
#
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. Cover.** Put the mean colour where the mask is 0, and mix where it is between.

# %%
def my_masked(image, mask, mean):
    """(3, H, W) from an image (3, H, W), a mask (H, W) of shares, and a colour (3,)."""
    # <solution>
    return mean[:, None, None] + mask * (image - mean[:, None, None])
    # </solution>


check.masked_picture(my_masked)

# %% [markdown]
# **2. The best pixels.** Keep exactly `count` pixels, those with the largest scores.

# %%
def my_best(scores, count):
    """(H, W) bool from scores (H, W)."""
    # <solution>
    return scores >= scores.flatten().sort(descending=True).values[count - 1]
    # </solution>


check.keep_best(my_best)

# %% [markdown]
# **3. AUC.** Of all pairs of a pixel in the region and one outside: in which share is the mask larger inside? Ties count
# half. A double loop is allowed.

# %%
def my_auc(mask, region):
    """A number from a mask (H, W) and a region (H, W) bool."""
    # <solution>
    inside, outside = mask[region][:, None], mask[~region]
    return (inside > outside).double().mean() + (inside == outside).double().mean() / 2
    # </solution>


check.mask_auc(my_auc)

# %% [markdown]
# **4. Open.** Eq 5 does not ask for a choice. Add a term that does, for example $\overline{M(1-M)}$, to `my_objective`,
# and find masks for one view again. Do they choose now? Are they still a code? And if $N$ had been trained on covered
# pictures, would the random pixels still win?
#
# ## What to read next
#
# - Hu, Zhang and Okatani, ICCV 2019 (arXiv 1904.03380): the method, on CNNs.
# - Fong and Vedaldi, ICCV 2017 (arXiv 1704.03296): masks for classifiers, and why they must be smooth.
# - Hooker et al., NeurIPS 2019 (arXiv 1806.10758): covering pixels makes strange pictures; retraining tells.
# - Notebook 14 asks the same of attribution maps: is the explanation faithful?
