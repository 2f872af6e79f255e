# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 08 · The normalised Hessian
#
# The head on a coin is a millimetre deep, and yet it looks round. Sculptors have used this for ages: press a head
# flat, lean it to one side, and from the front it still looks like the same head. Then a network that sees only a
# picture cannot know how deep the head is. Should it be punished for what it cannot know?
#
# Huynh et al. ([huynh2021](https://arxiv.org/abs/2108.11098)) say no. Their FuSaNet is trained with a loss that looks
# at how a surface **bends**, and only at the direction of the bending: the **normalised Hessian** (Section 3.3, Eq 1
# and 2). It is "invariant to scaling and shears along the z-axis", so that "the network will treat scaled versions of
# the same depth map as an entire equivalence class".
#
# **The questions.** Is it invariant? Where does the argument stop? And what does such a loss see in real depth maps?
# Whether FuSaNet gets better with it is a question for notebook 09. Nothing is trained here.

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
from matplotlib.ticker import PercentFormatter
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from mdelib import course, evaluation, figures, models, papers
from mdelib import hessian_figures as drawing
from mdelib.complexity import time_in_turns
from mdelib.exercises import check
from mdelib.hessian import (LITERAL_EPS, derivative_kernels, gaussian_hessian, hessian_noise, hessian_valid, noise_eps,
                            normalized_hessian, normalized_hessian_loss)
from mdelib.transport_figures import seen_bars
from mdelib.widgets import explore

# %%
lesson = course.start("08", data=data, scale=scale, seed=seed, device=device)
generator = torch.Generator().manual_seed(lesson.seed)

# %% [markdown]
# ## First the picture
#
# Here is a head, seen from the front and lit from the upper left. Beside it is another relief: pressed flat to a
# third, and leaning. It has another paint and another light, which nobody told us. Its picture is the same.

# %%
def grid(height, width):
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return x.double(), y.double()


x, y = grid(80, 80)
head = 60 + 0 * x  # place, width and height of the bumps; depth in pixels, near is small
for cx, cy, wide, high, out in ((40, 40, 15, 20, 28), (40, 44, 3, 7, 9), (32, 34, 4, 2.5, -5), (48, 34, 4, 2.5, -5),
                                (40, 56, 6, 1.6, 3), (40, 60, 5, 1.6, 2)):
    head = head - out * torch.exp(-((x - cx) / wide) ** 2 - ((y - cy) / high) ** 2)
light = torch.tensor([-0.5, -0.45, -0.8], dtype=torch.float64)
paint = torch.full_like(head, 0.8)
flat, other_paint, other_light = drawing.bas_relief(head, paint, light, a=0.35, b=0.12, c=0.0)
pictures = [drawing.lambert_picture(*one) for one in ((head, paint, light), (flat, other_paint, other_light))]

# %%
lesson.figure(drawing.relief_panels({"a head": (pictures[0], head), "a relief": (pictures[1], flat)}, 44), "relief",
              "Two surfaces with one picture. Near is bright in the depth maps; the sections go through the nose.",
              alt="Two equal grey pictures of a face, two different depth maps, and a deep and a shallow section.")
lesson.say(f"Largest difference between the two pictures: {float((pictures[0] - pictures[1]).abs().max()):.0e}.")

# %% [markdown]
# This is the **generalised bas-relief** ambiguity (Belhumeur, Kriegman and Yuille 1999). For a matt surface that is
# seen along parallel rays, every
#
# $$z' = a\,z + b\,x + c\,y + d, \qquad a > 0$$
#
# has the same pictures as $z$, in some other light and paint. So a loss that forgives $a$, $b$, $c$ and $d$ asks for
# no more than the picture holds. Second derivatives forget $b$, $c$ and $d$ by themselves. Dividing by their length
# forgets $a$:
#
# $$H_z = \frac{\nabla^2 z}{\|\nabla^2 z\| + \varepsilon}, \quad \nabla^2 z = (z_{xx}, z_{xy}, z_{yy}), \quad
# \varepsilon = 10^{-20} \qquad \text{(Eq 1)}$$
#
# ## An alphabet of bending
#
# $H$ has three numbers at every pixel. We draw them as a colour. Red: bends along x. Blue: along y. Green: twist.
# Grey is nothing, and a dark colour is the same bending the other way round. (The camera looks along z, so a bump
# towards us is a *minimum* of depth and bends upwards.)

# %%
u, v = grid(25, 25)
u, v = (u - 12) / 12, (v - 12) / 12
shapes = {"bump": (1, 0, 1), "hollow": (-1, 0, -1), "pillar": (1, 0, 0), "gutter": (0, 0, -1), "saddle": (1, 0, -1),
          "twist": (0, 1, 0), "wall": (0, 0, 0)}
letters = {}
for name, (p, q, r) in shapes.items():
    surface = p * u**2 / 2 + q * u * v + r * v**2 / 2
    letters[name] = (surface, np.array([p, q, r]) / max(np.linalg.norm([p, q, r]), 1e-9))
lesson.figure(drawing.shape_alphabet(letters), "alphabet", "Surfaces (near is bright) and their H, as numbers and "
              "as a colour.", alt="Seven small depth maps and below each a patch of colour with three numbers.")

# %% [markdown]
# ## Ten lines
#
# The paper says that the derivatives are "estimated using Gaussian second derivative filters": smooth with a Gaussian
# and differentiate, in one filter. scipy has it. The loss is the root mean square of the distance between two $H$:
#
# $$\mathcal{L}_H(\hat d, d) = \sqrt{\frac1N \sum_{x,y} \|H_{\hat d} - H_d\|^2} \qquad \text{(Eq 2)}$$

# %%
def my_normalized_hessian(depth, sigma=1.5, eps=1e-20):
    """(3, H, W) from depth (H, W)."""
    bends = np.stack([gaussian_filter(depth, sigma, order) for order in ((0, 2), (1, 1), (2, 0))])
    return bends / (np.linalg.norm(bends, axis=0) + eps)


def my_loss(pred, target, sigma=1.5):
    border = round(4 * sigma)  # there the filter sees pixels that do not exist
    distance = my_normalized_hessian(pred, sigma) - my_normalized_hessian(target, sigma)
    return np.sqrt((distance**2).sum(0)[border:-border, border:-border].mean())

# %% [markdown]
# A room and what a trained network makes of it: the small CNN of notebook 01, which was trained with Hu et al.'s loss
# and has never heard of $H$.

# %%
network = (lesson.network("two_networks", "cnn") if lesson.info.real
           else models.create_model("hu_resnet50", weights="rooms_cnn").to(lesson.device))
views = lesson.views("test")
predicted = evaluation.predict(network, views.image).double()
depth, mask = torch.where(views.mask, views.depth, 0).double(), views.mask
example = lesson.pick(smoke=0, lab=44)
truth, guess, whole = (maps[example:example + 1] for maps in (depth, predicted, mask))
PAPER = {"eps": LITERAL_EPS}  # the default is another one, we shall see why
literal = {"kernel": "sampled", **PAPER}
mine = my_loss(guess[0, 0].numpy(), truth[0, 0].numpy())
lesson.say(f"Ten lines give **{mine:.4f}**, the library gives "
           f"**{float(normalized_hessian_loss(guess, truth, whole, **literal)):.4f}**.")

# %%
counts = hessian_valid(whole)[0]
limits = tuple(float(truth[whole].quantile(q)) for q in (0.01, 0.99))
figure, axes = figures.new_figure(1, 5, height=1.75)
figures.show_image(axes[0], views.image[example], "a view")
for axis, maps, title in ((axes[1], truth, "true depth"), (axes[3], guess, "predicted depth")):
    figures.show_depth(axis, maps[0], title, limits=limits)
for axis, maps, title in ((axes[2], truth, "H of the truth"), (axes[4], guess, "H of the prediction")):
    drawing.show_direction(axis, normalized_hessian(maps, **PAPER)[0], title, mask=counts)
lesson.figure(figure, "directions", "The directions that the paper's loss compares, as colours. White: the filter "
              "reaches over the border.", alt="A room, two depth maps, and two colourful maps of directions.")

# %% [markdown]
# Edges come in pairs of colours: a step bends one way on its near side and the other way on its far side. So far, so
# good. But look at the walls. They are flat, and they have colours too. Keep that in mind.
#
# ## Is it invariant?
#
# We take a surface that bends everywhere, change it by ten random $(a, b, c, d)$, and ask how far $H$ moves. Two of
# the ten move it by 100 m. First with scipy's filters, then with those of the library.

# %%
x, y = grid(60, 80)
waves = 3 + 0.5 * torch.sin(x / 7) * torch.cos(y / 9) + 0.2 * torch.sin((x + y) / 5)
waves = waves[None, None]


def apart(one, other, **options):
    """Eq 2 from Eq 1, and the largest change of H at any pixel."""
    distance = (normalized_hessian(one, **options) - normalized_hessian(other, **options))[..., 6:-6, 6:-6]
    distance = distance.norm(dim=1)
    return float(distance.square().mean().sqrt()), float(distance.max())


# %%
random = np.random.default_rng(lesson.seed)
rows = []
for number in range(10):
    a, (b, c) = np.exp(random.uniform(-2, 2)), random.uniform(-1, 1, 2)
    d = (100.0, -100.0)[number] if number < 2 else random.uniform(-10, 10)
    changed = a * waves + b * x + c * y + d
    sampled, exact = (apart(changed, waves, kernel=kernel, **PAPER) for kernel in ("sampled", "exact"))
    rows.append({"a": f"{a:.2f}", "b": f"{b:+.2f}", "c": f"{c:+.2f}", "d": f"{d:+.1f}",
                 "loss, scipy's kernels": f"{sampled[0]:.3f}", "loss, exact kernels": f"{exact[0]:.0e}",
                 "largest change of H, exact": f"{exact[1]:.0e}"})
lesson.table(pd.DataFrame(rows), "invariance", "Ten changes that should cost nothing. Slopes in metres a pixel, the "
             "offset in metres; double precision.")
worst = max(float(row["largest change of H, exact"]) for row in rows)

# %% [markdown]
# By the formula the loss is zero. By the obvious program it is not. What went wrong?
#
# A second derivative must give 0 for a constant, so its kernel must **sum to zero**. The formula's kernel does. Its
# samples at whole pixels, cut off at four sigmas, do not: some of the depth itself leaks through. A hundred metres of
# it are more than any bending.

# %%
sigmas = np.arange(0.5, 3.01, 0.05)
farther = {kernel: [apart(waves + 100, waves, sigma=s, kernel=kernel, **PAPER)[0] for s in sigmas]
           for kernel in ("sampled", "exact")}
figure, (left, right) = figures.new_figure(1, 2, height=2.7)
left.plot(sigmas, [abs(float(derivative_kernels(s, "sampled")[2].sum())) for s in sigmas], color=figures.COLOURS[1])
left.set(yscale="log", xlabel="sigma (pixels)", ylabel="|sum of the kernel| (1/pixel²)",
         title="second derivative, sampled")
for kernel, colour in (("sampled", figures.COLOURS[1]), ("exact", figures.COLOURS[0])):
    right.plot(sigmas, farther[kernel], "-" if kernel == "sampled" else "--", color=colour, label=f"{kernel} kernels")
right.set(xlabel="sigma (pixels)", ylabel="loss", title="the same surface, 100 m farther", ylim=(-0.05, 2))
right.legend()
lesson.figure(figure, "leak", "Left: what the sampled kernel makes of a constant 1. Steps come from the cut at four "
              "sigmas. Right: what that does to the loss.",
              alt="A falling jagged line, and a loss that stays large for sampled kernels and zero for exact ones.")

# %% [markdown]
# The repair is two lines. Take off a multiple of the Gaussian, so that the sum is 0. Then scale, so that $x^2$ gives
# exactly 2. (The first derivative along each axis, for $z_{xy}$, is scaled so that $x$ gives 1.) From now on the
# kernels are exact.

# %%
leaked = apart(waves + 100, waves, **literal)[0]
lesson.say(f"""With exact kernels $H$ moved by no more than **{worst:.0e}** in all ten. With scipy's, an offset of 100
m alone costs **{leaked:.2f}** of at most 2 at sigma 1.5. The paper gives neither sigma nor kernels. A fact about
surfaces became a fact about filters.""")

# %% [markdown]
# ## Where the argument stops
#
# ### 1. Inside out
#
# "Scaling" must mean $a > 0$. A relief pressed through to the other side has $-H$, and the loss is as large as it can
# be. That is as it should be: the nose would be a hole. But the claim has to say so.

# %%
claim = next(c for c in papers.load_claims("huynh2021") if c.id == "huynh2021-eq1-invariance")
state, values = papers.check_analytic(claim)
shown = values.rename(columns={"left": "distance of the directions"}).drop(columns=["right", "difference"])
lesson.table(shown.round(6), "sign", "The distance between H of a surface and H of a times the surface plus any "
             "plane, by sympy (the paper's claim is 0).")
lesson.say(f"The claim of Eq 1 **{state} {claim.identity.condition}**.")

# %% [markdown]
# ### 2. The direction of nothing
#
# A plane does not bend. What is the direction of $(0, 0, 0)$? Eq 1 adds $\varepsilon = 10^{-20}$ "to avoid divisions
# by zero". But no computed plane has exactly zero derivatives. It has rounding errors, and those have a direction.
# Here is a plane, and the same plane with a millimetre of noise.

# %%
x, y = grid(60, 80)
plane = (2 + 0.01 * x - 0.02 * y)[None, None]
rough = plane + 1e-3 * torch.randn(plane.shape, generator=generator, dtype=torch.float64)
inside = hessian_valid(plane > 0)[0]
figure, axes = figures.new_figure(1, 5, height=1.6)
figures.show_depth(axes[0], rough[0], "plane + 1 mm", limits=(float(plane.min()), float(plane.max())))
for axis, (title, maps, options) in zip(axes[1:], (
        ("H of the plane", plane, PAPER), ("H of plane + 1 mm", rough, PAPER),
        ("plane, our default", plane, {}), ("plane + 1 mm,\nour default", rough, {})), strict=True):
    drawing.show_direction(axis, normalized_hessian(maps, **options)[0], title, mask=inside)
lesson.figure(figure, "nothing", "Two planes, a millimetre apart. In the paper's form both are full of bending, and "
              "it has nothing to do with each other.",
              alt="A smooth depth map, two maps of random colours, and two grey maps.")

# %%
noises = np.geomspace(1e-6, 0.1, 11)
pattern = torch.randn(plane.shape, generator=generator, dtype=torch.float64)
figure, axis = figures.new_figure(height=2.8)
for index, (title, eps) in enumerate((("the paper's 1e-20", LITERAL_EPS), ("1e-4", 1e-4),
                                      (f"{noise_eps():.1e}, our default", noise_eps()), ("1e-1", 0.1))):
    axis.plot(1e3 * noises, [apart(plane + s * pattern, plane, eps=eps)[0] for s in noises], "osD^"[index] + "-",
              ms=4, color=figures.COLOURS[(1, 2, 0, 3)[index]], label=title)
axis.axhline(2**0.5, color="0.4", ls=":")
axis.set(xscale="log", xlabel="noise (mm)", ylabel="loss", ylim=(0, 1.6), yticks=(0, 0.5, 1, 1.5))
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="ε (m/pixel²)")
lesson.figure(figure, "noise", "A plane against the same plane with noise. Dotted: √2, two directions that know "
              "nothing of each other.",
              alt="One flat line at 1.41 and three curves that rise with the noise, later for larger ε.")

# %%
single = gaussian_hessian(plane.float())[..., 6:-6, 6:-6].norm(dim=1)
zero16 = torch.tensor(LITERAL_EPS, dtype=torch.float16)
rounding = float(single.median())
lesson.say(f"""The paper's loss is {apart(plane, rough, **PAPER)[0]:.2f}, whether the noise is a thousandth of a
millimetre or ten centimetres. For unit vectors $\\|H_1 - H_2\\|^2 = 2 - 2\\cos$, and the mean cosine of strangers is
0: that is $\\sqrt 2$. In single precision, in which networks are trained, the rounding of this plane has
$\\|\\nabla^2 z\\| \\approx$ {rounding:.0e}. An ε of 1e-20 is {rounding / LITERAL_EPS:.0e} times smaller: **it never
acts**. In half precision 1e-20 is {float(zero16):g}, and a plane gives 0/0.""")

# %% [markdown]
# ### 3. The steepest loss there is
#
# A loss teaches through its gradient. Forget $H$ for a moment and take **any** loss $L$ that forgives every scale:
# $L(a z) = L(z)$ for all $a > 0$. Differentiate both sides by $z$:
#
# $$a\, \nabla L(a z) = \nabla L(z) \qquad\Longrightarrow\qquad \nabla L(a z) = \tfrac1a\, \nabla L(z).$$
#
# Press the prediction flat to a thousandth, and the gradient is a thousand times larger. **No loss that pulls at all
# can forgive every scale and have bounded gradients near a plane.** So this is no slip in the paper's formula. It is
# the price of what it asks for. One can pay it, or ask for less.

# %%
x, y = grid(60, 80)
ripples = (0.5 * torch.cos(x / 6 - y / 11))[None, None]
sizes = np.geomspace(1e-7, 1, 15)


def steepness(size, **options):
    pred = (3 + size * ripples).requires_grad_()
    normalized_hessian_loss(pred, waves, **options).backward()
    return float(pred.grad.norm())


figure, axis = figures.new_figure(height=2.8)
for options, colour, title in ((PAPER, 1, "ε = 1e-20"), ({}, 0, "our default ε")):
    axis.plot(1e3 * sizes, [steepness(s, **options) for s in sizes], "so"[colour] + "-", ms=4,
              color=figures.COLOURS[colour], label=title)

# %%
axis.set(xscale="log", yscale="log", xlabel="height of the predicted ripples (mm)",
         ylabel="norm of the\ngradient (1/m)")
axis.legend(loc="upper right")
lesson.figure(figure, "steep", "How hard the loss pulls at a prediction that is pressed flatter and flatter. The "
              "truth is the wavy surface.", alt="One line that rises as the ripples shrink, one that levels off.")
lesson.say(f"At a thousandth of a millimetre the paper's form pulls with {steepness(1e-6, **PAPER):.0e} per metre, "
           f"the default with {steepness(1e-6):.2g}.")

# %% [markdown]
# In a room there are planes everywhere, so the same happens at every wall. Here is where each form would move the
# depth of each pixel, for two predictions: the network's, and one that is perfect up to a millimetre.

# %%
def pull(pred, **options):
    """Minus the gradient, (1, H, W)."""
    pred = pred.clone().requires_grad_()
    return -torch.autograd.grad(normalized_hessian_loss(pred, truth, whole, **options), pred)[0][0]


FORMS = {"paper, ε = 1e-20": PAPER, "default ε": {}}
guesses = {"network": guess,
           "truth + 1 mm": truth + 1e-3 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)}
pulls = {(name, form): pull(pred, **options) for name, pred in guesses.items() for form, options in FORMS.items()}

# %%
figure, axes = figures.new_figure(2, 3, height=2.25)
for row, (name, pred) in zip(axes, guesses.items(), strict=True):
    figures.show_depth(row[0], pred[0], "prediction" if name == "network" else None, limits=limits)
    row[0].set_ylabel(name)
    for axis, form in zip(row[1:], FORMS, strict=True):
        strong = float(pulls[name, form].abs().quantile(0.995))
        artist = figures.show_signed(axis, pulls[name, form] / strong, form if name == "network" else None, limit=1.0)
        axis.set_xlabel(f"full colour: {strong:.2g} per metre")
bar = figure.colorbar(artist, ax=axes, shrink=0.7, pad=0.01, ticks=[-1, 0, 1])
bar.ax.set_yticklabels(["nearer", "stay", "farther"])
lesson.figure(figure, "pulls", "Where one step would move each pixel. Every map has its own scale.",
              alt="Two depth maps and for each two maps of pulls in red and blue.")

# %%
bends = gaussian_hessian(truth).norm(dim=1)[0]
calm = (bends < noise_eps()) & counts[0]
share = {key: 100 * float(values[0].abs()[calm].sum() / values[0].abs().sum()) for key, values in pulls.items()}
norm = {key: float(values.norm()) for key, values in pulls.items()}
rows = [{"prediction": name, "form": form, "norm of the gradient (1/m)": f"{norm[name, form]:.2g}",
         "share on calm pixels (%)": f"{share[name, form]:.0f}"} for name, form in pulls]
lesson.table(pd.DataFrame(rows), "pull_table", "Calm pixels, where the truth bends less than the default ε, are "
             f"{100 * float(calm.sum() / counts.sum()):.0f} % of this view.")

# %%
first, second = FORMS
ratio = {form: norm["truth + 1 mm", form] / norm["network", form] for form in FORMS}
lesson.say(f"""A prediction that is right to a millimetre is pulled at **{ratio[first]:.0f} times** as hard as the
network's in the paper's form, and {ratio[second]:.1f} times as hard with the default ε, mostly where there is nothing
to be gained. That the second number is not near 0 has another reason, the root in Eq 2. The gradient of $\\sqrt m$ is
$\\nabla m / 2 \\sqrt m$, which does not fade as $m$ goes to 0. A root mean square pulls until the end.""")

# %% [markdown]
# ### 4. Turn the camera
#
# A Hessian is a symmetric matrix with **four** entries, and $z_{xy}$ is two of them. Eq 1 counts it once. Then the
# length of $\nabla^2 z$ depends on how the camera is held. Compare a pillar with a bump, and turn both by the same
# angle.

# %%
def turned(p, q, r, angle):
    """(z_xx, z_xy, z_yy) in a frame turned by an angle."""
    frame = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = frame @ np.array([[p, q], [q, r]]) @ frame.T
    return matrix[0, 0], matrix[0, 1], matrix[1, 1]


def distance(one, other, twist):
    """Of two directions; z_xy counts `twist` times in length and distance."""
    weight = np.sqrt([1, twist, 1])
    one, other = (np.array(bend) * weight for bend in (one, other))
    return np.linalg.norm(one / np.linalg.norm(one) - other / np.linalg.norm(other))

# %%
angles = np.linspace(0, np.pi, 181)
figure, axis = figures.new_figure(height=2.5)
for twist, title, colour in ((1, "Eq 1: z_xy once", figures.COLOURS[1]), (2, "z_xy twice", figures.COLOURS[0])):
    axis.plot(np.degrees(angles), [distance(turned(1, 0, 0, w), turned(1, 0, 1, w), twist) for w in angles],
              "-" if twist == 1 else "--", color=colour, label=title)
axis.set(xlabel="the camera is turned by (degrees)", ylabel="distance of the H", xticks=range(0, 181, 45),
         ylim=(0, 1))
axis.legend(loc="lower left")
lesson.figure(figure, "turned", "A pillar against a bump, both turned alike. The Frobenius norm of the matrix counts "
              "z_xy twice and does not care.", alt="A wavy and a constant line against the angle.")

# %% [markdown]
# Photographs of rooms are seldom turned, so this costs little. We keep Eq 1 as printed.
#
# ### 5. A camera is not a sculptor's eye
#
# The ambiguity belongs to parallel rays. A camera's rays meet in its centre. Then a plane has the depth
#
# $$z = \frac{1}{\alpha x + \beta y + \gamma},$$
#
# which is **not** linear in the pixel. It bends. What is linear is $1/z$, inverse depth.

# %%
sizes = {"|∇²z| of depth z": gaussian_hessian(truth).norm(dim=1)[0],
         "|∇²w| of inverse\ndepth w = 1/z": gaussian_hessian(1 / truth.clamp_min(1e-3)).norm(dim=1)[0]}
figure, axes = figures.new_figure(1, 3, height=2.35)
figures.show_image(axes[0], views.image[example], "a view")
for axis, (title, size) in zip(axes[1:], sizes.items(), strict=True):
    artist = drawing.show_curvature(axis, size * counts[0], title, limits=(1e-8, 1))
figure.colorbar(artist, ax=list(axes), label="m/pixel² or 1/(m pixel²)", pad=0.01)
lesson.figure(figure, "perspective", "How strongly depth and inverse depth bend, in powers of ten. Floor and side "
              "walls bend in depth and are flat in inverse depth.",
              alt="A room, and two maps of curvature; in the second the planes are black.")

# %% [markdown]
# So the set of depth maps that the loss treats as one is not the set of scenes that look alike to a camera. Take a
# floor and add $c\,y$ to its depth map. The loss stays at zero. In space the floor is no floor any more. Do the same
# to inverse depth, and a plane stays a plane.

# %%
x, y = grid(40, 60)
lines, focal, height = 22 + y, 112.0, 1.5  # pixels under the horizon, focal length, metres over the floor
floor = focal * height / lines
sheared = {"depth + c·y": floor + 0.03 * (lines - lines.min()),
           "1 / (inverse depth + c·y)": 1 / (1 / floor + 0.0025 * (lines - lines.min()))}
figure, axis = figures.new_figure(height=2.5)
for index, (title, maps) in enumerate({"the floor": floor, **sheared}.items()):
    axis.plot(maps[:, 0], -(maps * lines / focal)[:, 0], color=figures.COLOURS[(6, 1, 0)[index]], label=title,
              ls=("--", "-", "-.")[index])

# %%
axis.plot(0, 0, "^", color="black", ms=9, clip_on=False)
axis.set(xlabel="distance ahead (m)", ylabel="height (m)", xlim=(0, None))
axis.legend(loc="lower left")
cost = [apart(maps[None, None], floor[None, None], **PAPER)[0] for maps in sheared.values()]
lesson.figure(figure, "floor", "A floor from the side, seen by a camera (triangle). Both changes are shears: one of "
              "depth, one of inverse depth.", alt="Three lines below a camera: two straight, one bent.")
lesson.say(f"Loss of the bent floor **{cost[0]:.0e}**, of the tilted one {cost[1]:.0e}. A floor bends along y alone, "
           "so that the loss cannot tell it from any other surface that does.")

# %% [markdown]
# Scaling is the exception: $a\,z$ is a smaller or larger copy of the scene for any camera. So of the four numbers that
# the loss forgives, a camera has only the first as a true ambiguity.
#
# ### 6. It forgives more than it says
#
# $H$ is a direction **at every pixel**. So the scale $a$ may be another one at every pixel. Everything that bends
# along x only, and upwards, is one and the same to the loss: $x^2$ and $e^x$. A step bends up and then down, and so it
# does whatever its height. Three boards before a wall:

# %%
boards, wrong = torch.full((1, 1, 60, 100), 4.0, dtype=torch.float64), torch.full((1, 1, 60, 100), 4.0).double()
for left_end, right_depth, wrong_depth in ((10, 3.0, 1.2), (40, 2.0, 3.4), (70, 3.5, 1.8)):
    boards[..., 14:46, left_end:left_end + 20] = right_depth
    wrong[..., 14:46, left_end:left_end + 20] = wrong_depth
seen = {form: normalized_hessian_loss(wrong, boards, **options) for form, options in FORMS.items()}
between = (normalized_hessian(wrong) - normalized_hessian(boards)).norm(dim=1)
figure, axes = figures.new_figure(1, 3, height=1.9)
for axis, maps, title in ((axes[0], boards, "truth"), (axes[1], wrong, "prediction")):
    artist = figures.show_depth(axis, maps[0], title, limits=(1, 4))

# %%
figure.colorbar(artist, ax=list(axes[:2]), label="depth (m)", pad=0.01)
error = axes[2].imshow(between[0], cmap="magma", vmin=0, vmax=2)
axes[2].set(xticks=[], yticks=[], title="distance of the H (default)")
figure.colorbar(error, ax=axes[2], label="of at most 2", pad=0.02)
lesson.figure(figure, "boards", "Three boards before a wall. The prediction puts each at a wrong distance.",
              alt="Two depth maps of three boards in different order of depth, and a nearly black map of distances.")
off = float((wrong - boards).square().mean().sqrt())
lesson.say(f"RMSE **{off:.2f} m**, loss **{float(seen['default ε']):.2f}** of at most 2. The nearest board has become "
           "the farthest. The loss only asks that a step be a step, in the right place and in the right direction.")

# %% [markdown]
# ## A floor for ε
#
# Remedy for 2 and 3: let ε be as large as noise. The bending of nothing but noise is known in advance. If every pixel
# has independent noise of $s$ metres, then $\|\nabla^2 z\|$ is $s$ times a number that depends on the kernels alone:
#
# $$\text{rms}\,\|\nabla^2 n\| = s \sqrt{2\,\|g\|^2 \|g''\|^2 + \|g'\|^4}$$
#
# with the squared lengths of the three one-dimensional kernels. `noise_eps(sigma)` is three times that, for 1 cm of
# noise. The first Kinect has a few millimetres near by and 4 cm at 5 m (Khoshelham and Elberink 2012).

# %%
blank = torch.randn(4, 1, 120, 120, generator=generator, dtype=torch.float64) * 0.01
rows = []
for sigma in (1.0, 1.5, 2.0, 3.0, 5.0):
    measured = gaussian_hessian(blank, sigma=sigma).norm(dim=1)[:, 20:-20, 20:-20].square().mean().sqrt()
    bending = gaussian_hessian(truth, sigma=sigma).norm(dim=1)[hessian_valid(whole, sigma)[:, 0]]
    rows.append({"sigma (pixels)": f"{sigma:g}", "noise of 1 cm, formula": f"{hessian_noise(0.01, sigma):.1e}",
                 "noise of 1 cm, measured": f"{float(measured):.1e}", "default ε": f"{noise_eps(sigma):.1e}",
                 "the room's median": f"{float(bending.median()):.1e}",
                 "share of the room above ε (%)": f"{100 * float((bending > noise_eps(sigma)).double().mean()):.0f}"})
lesson.table(pd.DataFrame(rows), "noise_table", "Noise, the ε that follows from it, and the bending of the room "
             "above, all in m/pixel².")

# %% [markdown]
# The bending of noise falls with the third power of sigma. A wider Gaussian hears more and sees less detail.
#
# There is another remedy: leave ε alone and let pixels count by the **truth's** bending, $w = \|\nabla^2 d\|^2 /
# (\|\nabla^2 d\|^2 + \kappa^2)$. In the library that is `weighting=κ`. It keeps every scale forgiven. So by section 3
# its gradient is as unbounded as before, where the *prediction* is flat. That is why a larger ε is the default.
#
# What does ε cost, and what does it buy? Five predictions, and the loss of each as ε grows. A good loss has the first
# two at the bottom: noise is no mistake, and a larger room is to be forgiven.

# %%
some = slice(0, lesson.pick(smoke=2, lab=20))
room, known = depth[some], mask[some]
NAMES = {"truth + 1 cm noise": room + 0.01 * torch.randn(room.shape, generator=generator, dtype=torch.float64),
         "truth × 1.5": 1.5 * room, "the network": predicted[some], "a flat wall": torch.full_like(room, 3.0),
         "another room": room.roll(1, 0)}
factors = np.geomspace(0.01, 100, 9)
figure, axes = figures.new_figure(1, 2, height=2.9, sharey=True)
for axis, sigma in zip(axes, (1.5, 5.0), strict=True):
    for index, (name, pred) in enumerate(NAMES.items()):
        axis.plot(factors, [float(normalized_hessian_loss(pred, room, known, sigma=sigma, eps=factor * hessian_noise(
            0.01, sigma))) for factor in factors], "osD^v"[index] + "-", ms=4, color=figures.COLOURS[index], label=name)
    axis.axvline(3, color="0.4", ls=":")
    axis.set(xscale="log", title=f"sigma {sigma:g}", xlabel="ε / bending of 1 cm of noise", ylim=(0, 1.5))

# %%
axes[0].set(ylabel="loss")
axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
lesson.figure(figure, "epsilon", f"{len(room)} views. Dotted: the default. Far left is nearly the paper's form, "
              "but for scipy's kernels.", alt="Two panels of five curves against ε.")

# %% [markdown]
# Two things stand out. Noise loses its weight where ε passes it, and scale costs little anywhere. And look at the flat
# wall: to the loss at sigma 1.5 **it is better than the network**. We come back to that.
#
# ## What it sees
#
# Spoil a true depth map in eight ways. The root mean square error, and both forms of the loss:

# %%
x, y = grid(*truth.shape[-2:])
soft = torch.from_numpy(gaussian_filter(truth[0, 0].numpy(), 2))[None, None]
spoiled = {"truth": truth, "× 1.5": 1.5 * truth, "sheared": truth + 0.01 * x - 0.01 * y, "+ 1 m": truth + 1,
           "hollow": truth.max() + truth.min() - truth,
           "noise": truth + 0.01 * torch.randn(truth.shape, generator=generator, dtype=torch.float64),
           "blurred": soft, "flat wall": torch.full_like(truth, 3.0),
           "other room": depth[[(example + 1) % len(depth)]]}

# %%
found = {"RMSE": {}, "paper, exact kernels": {}, "default": {}}
for name, pred in list(spoiled.items())[1:]:
    found["RMSE"][name] = float((pred - truth)[whole].square().mean().sqrt())
    found["paper, exact kernels"][name] = float(normalized_hessian_loss(pred, truth, whole, **PAPER))
    found["default"][name] = float(normalized_hessian_loss(pred, truth, whole))
units = {"RMSE": "m", "paper, exact kernels": "of 2", "default": "of 2"}
figure = seen_bars({k: m[0] for k, m in spoiled.items()}, found, units, limits=(limits[0], 1.5 * limits[1]))
lesson.figure(figure, "seen", "Eight spoiled copies, and what each measure says. \"Blind\": less than a hundredth of "
              "its largest bar.", alt="Nine depth maps above, three groups of eight bars below.")

# %% [markdown]
# Read the columns. RMSE calls a larger room a disaster and noise nothing. $H$ has it the other way round: scale, shear
# and offset are free. In the paper's form a centimetre of noise is as bad as a blur that takes every edge away. The
# default tells them apart, for a small price on scale.
#
# The last two bars of each column are the odd ones. A flat wall has no shape at all, and yet it is better than another
# room, in both forms. Above, at the same sigma, it was even better than the network's prediction. Why?
#
# For an exactly flat map the paper's form gives 1: $H = 0$ against a unit vector. For two unit vectors at the angle
# $\theta$ the squared distance is $2 - 2\cos\theta$. So **to predict a direction pays only where the mean cosine is
# above ½**. A network that is less sure does better not to bend at all. But the paper's $H$ has length 1 whatever it
# does. It cannot say "I do not know".
#
# ## What it sees in a trained network
#
# How sure is our network? Here is the mean cosine between its bending and the true one, over all test views, for
# pixels that bend little and much, and at four widths of the Gaussian.

# %%
def cosines(pred, sigma, groups=8):
    """Mean cosine of predicted and true bending in groups of equally many pixels, by how much the truth bends."""
    true, ours = (gaussian_hessian(maps, sigma=sigma) for maps in (depth, pred))
    inside = hessian_valid(mask, sigma)[:, 0]
    order = true.norm(dim=1)[inside].argsort()
    return torch.stack([part.mean() for part in F.cosine_similarity(true, ours, 1)[inside][order].chunk(groups)])


curves = {sigma: cosines(predicted, sigma) for sigma in (1.0, 1.5, 3.0, 5.0)}
stranger = cosines(depth.roll(1, 0), 1.5)

# %%
figure, axis = figures.new_figure(height=3.0)
places = (np.arange(8) + 0.5) / 8
for index, (sigma, curve) in enumerate(curves.items()):
    axis.plot(places, curve, "oD^v"[index] + "-", ms=4, color=figures.COLOURS[index],
              label=f"the network, sigma {sigma:g}")
axis.plot(places, stranger, "s:", ms=4, color="0.5", label="another room, sigma 1.5")
axis.axhline(0.5, color="0.2", ls="--", lw=1)
axis.annotate("above: predicting a direction pays", (0.01, 0.515), fontsize=9)
axis.set(xlabel="pixels, from the calmest to the most bent", ylabel="mean cosine of the bendings", ylim=(-0.15, 1),
         xlim=(0, 1))
axis.xaxis.set_major_formatter(PercentFormatter(1.0))
axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
lesson.figure(figure, "cosine", f"How well the network's bending points the right way, {len(views)} views of "
              f"{lesson.info.title}.",
              alt="Four rising lines of cosine against curvature; only the widest reach one half.")

# %%
fine, wide = curves[1.5], curves[5.0]
lesson.say(f"""At sigma 1.5 the mean cosine is {fine.mean():.2f}, and {fine[-1]:.2f} at the eighth of pixels that
bend most. At sigma 5 it is {wide.mean():.2f} and {wide[-1]:.2f}. The network knows the large forms of a room and draws
no sharp edge. A loss at sigma 1.5 looks at what it does not have; one at sigma 5 looks at what it nearly has. The
paper does not give sigma, and **it decides what the loss is about**.""")

# %% [markdown]
# The same in maps, for the view above.

# %%
figure, axes = figures.new_figure(2, 5, height=1.5)
for row, sigma in zip(axes, (1.5, 5.0), strict=True):
    inside = hessian_valid(whole, sigma)[0]
    for column, (form, options) in enumerate(FORMS.items()):
        both = [normalized_hessian(maps, sigma=sigma, **options)[0] for maps in (truth, guess)]
        for place, (what, maps) in enumerate(zip(("truth", "network"), both, strict=True)):
            title = f"{what},\n{form}" if sigma == 1.5 else None
            drawing.show_direction(row[2 * column + place], maps, title, mask=inside)
    row[0].set_ylabel(f"sigma {sigma:g}")
    apart_map = (both[0] - both[1]).norm(dim=0)
    artist = row[4].imshow(np.ma.masked_where(~inside[0].numpy(), apart_map.numpy()), cmap="magma", vmin=0, vmax=2)
    row[4].set(xticks=[], yticks=[], title="distance,\ndefault ε" if sigma == 1.5 else None)
    row[4].spines[:].set_visible(False)

# %%
figure.colorbar(artist, ax=axes, label="distance, of at most 2", pad=0.01, shrink=0.8)
lesson.figure(figure, "maps", "Directions in the truth and in the prediction. With the default ε calm pixels are "
              "grey.",
              alt="Two rows of four colourful maps and a map of distances.")

# %%
flat_wall = torch.full_like(depth, float(depth[mask].mean()))
candidates = {"the network": predicted, "a flat wall": flat_wall,
              "the mean depth map": depth.mean(0, keepdim=True).expand_as(depth), "another room": depth.roll(1, 0),
              "truth + 1 cm noise": depth + 0.01 * torch.randn(depth.shape, generator=generator, dtype=torch.float64)}
rows_of = {}
for name, pred in candidates.items():
    row = {"prediction": name, "RMSE (m)": f"{float((pred - depth)[mask].square().mean().sqrt()):.2f}"}
    for sigma in (1.5, 5.0):
        for form, options in FORMS.items():
            value = float(normalized_hessian_loss(pred, depth, mask, sigma=sigma, **options))
            row[f"{form}, sigma {sigma:g}"] = f"{value:.2f}"
    rows_of[name] = row
lesson.table(pd.DataFrame(rows_of.values()), "candidates", f"The loss over all {len(views)} test views.")

# %%
def each(pred, sigma=1.5, **options):
    """The loss of every view by itself; NaN where no pixel counts."""
    ours, true = (normalized_hessian(maps, sigma=sigma, **options) for maps in (pred, depth))
    inside = hessian_valid(mask, sigma)[:, 0]
    total = ((ours - true).square().sum(1) * inside).flatten(1).sum(1)
    return (total / inside.flatten(1).sum(1)).sqrt().numpy()


wins = {form: 100 * float((each(flat_wall, **options) < each(predicted, **options)).mean())
        for form, options in FORMS.items()}
lesson.say(f"At sigma 1.5 the flat wall beats the network in **{wins[first]:.0f} %** of the views in the paper's "
           f"form, and in {wins[second]:.0f} % with the default ε.")

# %% [markdown]
# This does not say that the loss is useless in training. It says what it would do first with a network like this one:
# smooth it, or at least make it bend less where it is unsure. The paper adds the term with a weight of λ = 0.01 beside
# others that pull the other way.
#
# ### The hope, measured
#
# The loss is meant to leave out what a picture cannot tell. So take it out of the error too: fit $a$, $b$, $c$, $d$ of
# every view so that $a\,\hat d + b\,x + c\,y + d$ is as near to the truth as can be, and ask what error is left. Does
# a view with a small $L_H$ have a small error of *shape*?

# %%
def fitted(pred, target, known):
    """One view's a·pred + b·x + c·y + d with the least squared error, (1, H, W)."""
    x, y = grid(*pred.shape[-2:])
    columns = torch.stack([pred[0], x, y, torch.ones_like(x)], -1)
    best = torch.linalg.lstsq(columns[known[0]], target[0][known[0]][:, None]).solution
    return (columns @ best)[None, ..., 0]


shaped = torch.stack([fitted(*one) for one in zip(predicted, depth, mask, strict=True)])
rmse, shape_error = ((((maps - depth) * mask).square().flatten(1).sum(1) / mask.flatten(1).sum(1)).sqrt().numpy()
                     for maps in (predicted, shaped))


# %%
def in_order(one, other, fixed=None):
    """Rank correlation over views; of what is left when a third quantity is held fixed."""
    r = spearmanr(one, other, nan_policy="omit").statistic
    if fixed is None:
        return r
    p, q = (spearmanr(x, fixed, nan_policy="omit").statistic for x in (one, other))
    return (r - p * q) / np.sqrt((1 - p**2) * (1 - q**2))


rows = []
for sigma, form in ((1.5, first), (1.5, second), (5.0, first), (5.0, second)):
    ours, control = (each(pred, sigma, **FORMS[form]) for pred in (predicted, flat_wall))
    rows.append([f"{form}, sigma {sigma:g}", *(f"{value:+.2f}" for value in (
        in_order(ours, rmse), in_order(ours, shape_error), in_order(control, shape_error),
        in_order(ours, shape_error, control)))])

# %%
titles = ["loss", "network's loss and its RMSE", "network's loss and its error of shape",
          "control: a flat wall's loss and the network's error of shape",
          "network's loss and its error of shape, control held fixed"]
lesson.table(pd.DataFrame(rows, columns=titles), "correlation", f"Rank correlation over {len(views)} views; 1 is the "
             "same order. The control knows nothing of the network, only how much the true room bends.")
before, after = (float(normalized_hessian_loss(maps, depth, mask, **PAPER)) for maps in (predicted, shaped))
free = 100 * (1 - shape_error.mean() / rmse.mean())
lesson.say(f"The fit takes the mean RMSE from {rmse.mean():.2f} m to {shape_error.mean():.2f} m, and moves the "
           f"paper's form from {before:.3f} to {after:.3f}. That is the invariance at work: {free:.0f} % of the error "
           "is nothing to this loss.")
lesson.say(f"Now the control. With the default ε the network's loss goes with its error of shape ({rows[1][2]}). The "
           f"loss of a flat wall goes with it at {rows[1][3]}: rooms that bend much are hard, and cost much, whatever "
           f"the network does. With that held fixed, **{rows[1][4]}** is left. From view to view the loss says how "
           "hard a room is, not how well the network did.")

# %% [markdown]
# ## Training without a network
#
# What does each form ask for? Start from the network's prediction and let Adam move the pixels themselves, with
# nothing but this loss. We watch the loss and the error of shape.

# %%
def descend(start, steps, **options):
    """The pixels after some steps of Adam, and (loss, error of shape) along the way."""
    pixels, path, inside = start.clone().requires_grad_(), [], hessian_valid(whole)[0]
    optimizer = torch.optim.Adam([pixels], lr=0.02)
    for step in range(steps + 1):
        value = normalized_hessian_loss(pixels, truth, whole, **options)
        if step % max(steps // 15, 1) == 0:
            best = fitted(pixels.detach()[0], truth[0], inside)
            path.append((step, float(value.detach()), float((best - truth[0])[inside].square().mean().sqrt())))
        optimizer.zero_grad(), value.backward(), optimizer.step()
    return fitted(pixels.detach()[0], truth[0], inside), np.array(path)


ends = {form: descend(guess, lesson.pick(smoke=5, lab=150), **options) for form, options in FORMS.items()}

# %%
figure, axes = figures.new_figure(1, 4, height=1.9)
start = fitted(guess[0], truth[0], counts)
for axis, (title, maps) in zip(axes, {"truth": truth[0], "start: the network": start,
                                      **{form: end for form, (end, _) in ends.items()}}.items(), strict=True):
    artist = figures.show_depth(axis, maps, title, limits=limits)
figure.colorbar(artist, ax=list(axes), label="depth (m)", pad=0.01)
lesson.figure(figure, "descent", "Where the pixels go, each map after its best fit of a, b, c and d.",
              alt="Four depth maps: the truth, a blurred one, a rough one, and one with sharper edges.")

# %%
figure, axes = figures.new_figure(1, 2, height=2.5)
for index, (form, (_, path)) in enumerate(ends.items()):
    for axis, column in zip(axes, (1, 2), strict=True):
        axis.plot(path[:, 0], path[:, column], "os"[index] + "-", ms=4, color=figures.COLOURS[1 - index], label=form)
axes[0].set(xlabel="step", ylabel="loss", ylim=(0, None))
axes[1].set(xlabel="step", ylabel="error of shape (m)", ylim=(0, None))
axes[1].legend()
lesson.figure(figure, "descent_curves", "The same two descents.",
              alt="Two falling loss curves; one error falls, one does not.")
change = {form: path[-1, 2] / path[0, 2] - 1 for form, (_, path) in ends.items()}
lesson.say("Both losses fall. The error of shape changes by " + " and ".join(
    f"**{100 * change[form]:+.0f} %** ({form})" for form in FORMS) + ".")

# %% [markdown]
# Look at the third map above. Door panels, picture frame and wall are carved as deep as the bookcase. The paper's form
# asks every pixel for the right direction of bending, and no pixel for its strength. A pixel that bends a millimetre
# has the same vote as the edge of a table. With the default ε it has not, and the room comes out of the blur.

# %% [markdown]
# ## Try it
#
# Scale, shear and move the room. Watch which number stays put.

# %%
WAYS = {"paper, scipy's kernels": literal, "paper, exact kernels": PAPER, "default": {}}


# %%
def draw(scale_by, shear, offset, form):
    """The changed surface, its section, its H and what is said of it."""
    x, _ = grid(*truth.shape[-2:])
    changed, middle = scale_by * truth + shear * x + offset, truth.shape[-2] // 2
    value = float(normalized_hessian_loss(changed, truth, whole, **WAYS[form]))
    error = float((changed - truth)[whole].square().mean().sqrt())
    figure, axes = figures.new_figure(1, 4, height=1.9, width_ratios=[1.2, 1.4, 1.2, 0.8])
    figures.show_depth(axes[0], changed[0], "depth, own scale", limits=tuple(changed.aminmax()))
    for maps, colour in ((truth, "0.6"), (changed, figures.COLOURS[0])):
        axes[1].plot(maps[0, 0, middle], color=colour)
    axes[1].set(title="section (grey: truth)", xlabel="x (pixels)", ylabel="m")
    drawing.show_direction(axes[2], normalized_hessian(changed, **WAYS[form])[0], "H", mask=counts)
    axes[3].bar(0, value, color=figures.COLOURS[0])
    axes[3].set(title=f"RMSE {error:.2f} m", xlabel=f"loss {value:.2f} of 2", xticks=[], xlim=(-1, 1), ylim=(0, 2))
    return figure

# %%
explore(draw, {"scale_by": [-1.0, 0.25, 0.5, 1.0, 2.0, 4.0], "shear": [-0.05, -0.02, 0.0, 0.02, 0.05],
               "offset": [0.0, 1.0, 10.0, 100.0], "form": list(WAYS)},
        [{"scale_by": 2.0, "shear": 0.02, "offset": 1.0, "form": "paper, exact kernels"},
         {"scale_by": 1.0, "shear": 0.0, "offset": 10.0, "form": "paper, scipy's kernels"},
         {"scale_by": 0.5, "shear": -0.02, "offset": 1.0, "form": "default"},
         {"scale_by": -1.0, "shear": 0.0, "offset": 10.0, "form": "default"}], lesson=lesson, name="try",
        caption="Scaled by {scale_by:g}, sheared by {shear:g} m a pixel, moved by {offset:g} m; {form}.",
        alt="A room scaled by {scale_by:g}, sheared by {shear:g} and moved by {offset:g} m: its depth, its section, its "
        "directions as colours, and a bar for the loss.")

# %% [markdown]
# ## What we had to decide
#
# The paper has two equations and one number. Everything else is ours. This is how the loss of five predictions moves
# when it is decided otherwise.

# %%
few = slice(0, 40)
CHOICES = {"default: exact kernels, sigma 1.5, ε of noise": {}, "sigma 1": {"sigma": 1.0}, "sigma 5": {"sigma": 5.0},
           "the paper's ε": PAPER, "the paper's ε, scipy's kernels": literal,
           "the paper's ε, weights by the truth": {"weighting": noise_eps(), **PAPER}}
columns = {name: pred for name, pred in candidates.items() if name != "the mean depth map"}
columns["truth + 10 m"] = depth + 10
rows = [{"choice": name, **{title: f"{float(normalized_hessian_loss(pred[few], depth[few], mask[few], **options)):.2f}"
                            for title, pred in columns.items()}} for name, options in CHOICES.items()]
lesson.table(pd.DataFrame(rows), "choices", f"The loss over {len(depth[few])} views of {lesson.info.title}.")

# %%
def share_that_counts(factor, sigma):
    """Percent of a map at 1/factor of the size that have a whole kernel."""
    size = tuple(n // factor for n in depth.shape[-2:])
    return f"{100 * float(hessian_valid(torch.ones(1, 1, *size, dtype=torch.bool), sigma).double().mean()):.0f}"


rows = [{"map": " × ".join(str(n // factor) for n in depth.shape[-2:]),
         **{f"sigma {sigma:g}": share_that_counts(factor, sigma) for sigma in (1.0, 1.5, 3.0)}}
        for factor in (1, 2, 4, 8, 16)]
lesson.table(pd.DataFrame(rows), "scales", "Percent of the pixels that have a whole kernel. The paper adds the loss "
             "at five scales (Eq 5); coarse maps have no Hessian.")

# %%
some = views[:8]
prediction = (1.1 * some.depth).requires_grad_()
steps = {"the network": lambda: network.cpu()(some.image).mean().backward(),
         "the loss": lambda: normalized_hessian_loss(prediction, some.depth, some.mask).backward()}
tries = time_in_turns(steps, rounds=lesson.pick(smoke=1, lab=3))
network.to(lesson.device)
lesson.say(f"What does it cost? Forwards and back for {len(some)} views, on a CPU: "
           + ", ".join(f"{name} {1e3 * min(seconds):.0f} ms" for name, seconds in tries.items()) + ".")

# %% [markdown]
# - **Border and holes.** A pixel counts if its whole kernel lies on valid pixels inside the image. `hessian_valid`
#   says which do. A map smaller than the kernel is refused, and a training leaves such a scale out.
# - **The unit of ε.** None is printed. Ours is metres per square pixel. It follows sigma, since noise does.
# - **z_xy** counts once, as printed.
# - **The root** of Eq 2 stays, rounded off below 1e-6: for equal maps its derivative would be 0/0.
# - **Precision.** Single at least, also where a training runs in half.
# - **Which depth.** Depth, as printed. Inverse depth would suit a camera better: its shears keep planes plane.
#
# ## Verdict

# %%
alone, planes = float(seen["default ε"]), apart(plane, rough, **PAPER)[0]
lesson.say(f"""| claim | verdict |
|---|---|
| Eq 1: H is invariant to scaling and shear along z | **{state} {claim.identity.condition}** |
| ... estimated with Gaussian second-derivative filters | to {worst:.0e} with exact kernels; with sampled ones 100 m \
farther costs {leaked:.2f} of 2 |
| ε = 1e-20 avoids divisions by zero | in single precision it never acts; planes 1 mm apart cost {planes:.2f} |
| scaled versions of a depth map are one class | they are, and many other maps with them: the boards, {alone:.2f} |
| the ambiguity is that of a picture | of one along parallel rays; a camera has only the scale |""")

# %%
price = found["default"]["× 1.5"]
wall, net = (rows_of[name]["default ε, sigma 1.5"] for name in ("a flat wall", "the network"))
lesson.say(f"""**What H measures is sound, and it is less than it seems.** It sees where a surface bends and which way.
It does not see how strongly, and on planes it sees noise. A loss that forgives every scale must be infinitely steep
near a plane. With an ε of the size of noise it is not, and pays with {price:.2f} for a room of one and a half times
the size. And it asks for more than a small network has: at sigma 1.5 it prefers a flat wall ({wall}) to our network's
prediction ({net}). Whether it helps in training, beside the other terms, is measured in notebook 09, on the paper's
Table 7.""")

# %% [markdown]
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. Repair a kernel.** You get a sampled second derivative and the Gaussian that it came from, both (2r + 1,). Take
# off a multiple of the Gaussian so that the sum is 0, then scale, so that $x^2$ gives 2.

# %%
def my_exact_second(second, smooth):
    # <solution>
    x = torch.arange(len(second), dtype=second.dtype) - len(second) // 2
    balanced = second - second.sum() * smooth
    return balanced * 2 / (balanced * x**2).sum()
    # </solution>


check.exact_second(my_exact_second)

# %% [markdown]
# **2. Eq 1.** Turn second derivatives (3, N) into $H$. Some of them are exactly zero.

# %%
def my_direction(bends, eps):
    # <solution>
    return bends / (bends.norm(dim=0) + eps)
    # </solution>


check.direction_with_floor(my_direction)

# %% [markdown]
# **3. Eq 2.** Two maps of directions (3, H, W), and which pixels count (H, W).

# %%
def my_chord_loss(ours, true, counts):
    # <solution>
    return (ours - true).square().sum(0)[counts].mean().sqrt()
    # </solution>


check.chord_loss(my_chord_loss)

# %% [markdown]
# **4. The floor.** A level camera is `height` metres over a floor. A row that is `rows` pixels under the horizon shows
# the floor at the depth $z = \text{height} \cdot \text{focal} / \text{rows}$. How strongly does it bend, $z_{yy}$, in
# metres per square pixel? Compare with `noise_eps()`: from where on is a floor flat to the default?

# %%
def my_floor_bend(height, focal, rows):
    # <solution>
    return 2 * height * focal / rows**3
    # </solution>


check.floor_bend(my_floor_bend)

# %% [markdown]
# **5. Open.** Let ε be a share of the map's own bending: ε = k · rms ‖∇²z‖, for prediction and truth each their own.
# Now every $a > 0$ is forgiven again. Where did the infinite gradient go? Try `gradcheck` on a plane. Then find a room
# in which this is worse than a fixed ε.
#
# ## What to read next
#
# - Huynh, Pedone, Nguyen, Matas, Rahtu, Heikkilä (arXiv 2108.11098): the paper of this notebook and the next.
# - Belhumeur, Kriegman, Yuille, "The bas-relief ambiguity", IJCV 35, 1999: two surfaces, one picture, also in the
#   shadows.
# - Papadhimitri and Favaro, CVPR 2013: what perspective does to that ambiguity.
# - Koenderink and van Doorn, "Surface shape and curvature scales", 1992: the direction and the size of bending, taken
#   apart with care for rotation.
# - Khoshelham and Elberink, Sensors 12, 2012: how noisy the depth of a Kinect is, and how that grows with distance.
# - Lindeberg, "Scale-space for discrete signals", PAMI 1990: why a sampled Gaussian is not a Gaussian.
# - Ranftl et al. (arXiv 1907.01341): another loss that forgives scale and shift. It divides by a spread of the whole
#   map.
# - In this course: notebook 09 trains FuSaNet with and without this loss. Notebook 06 puts differences into a network.
