# %% [markdown]
# # 00 · Start here
#
# A photograph is flat. Yet you can tell at once which chair in it is near and which wall is far. A **depth network**
# does the same, with a number for every pixel. How does it know?
#
# Five papers try to answer that. This course reads them, rebuilds what they built, and checks what they claim:
#
# | short name | paper | what it asks |
# |:--|:--|:--|
# | cirillo2025 | Shedding Light on Depth | which pixels does the answer hang on? |
# | you2021 | Towards Interpretable Deep Networks for Monocular Depth Estimation | what does one unit of a network stand for? |
# | yao2023 | Improving Depth Gradient Continuity in Transformers | how few pixels are enough? |
# | huynh2021 | Monocular Depth Estimation Primed by Salient Point Detection and Normalized Hessian Loss (FuSaNet) | which few depth measurements help most? |
# | choi2024 | TIE-KD: Teacher-Independent and Explainable Knowledge Distillation | what can a small network learn from any large one? |
#
# Before one asks *why* a network answers as it does, one must know what it is asked. So this notebook has three
# parts: what a depth map is, what the data sets hold, and what a real network makes of them. Nothing needs to be
# downloaded.

# %% [markdown]
# The next cell sets what the notebook works on. Every notebook of the course begins with these four lines. Change
# them, run all cells, and you have the same lesson on other data.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from mdelib import course, evaluation, figures, geometry, models, papers, priors, protocols, verdicts
from mdelib import data as datasets
from mdelib.exercises import check
from mdelib.data.base import resize_image
from mdelib.data.scenes import CUES, render_view
from mdelib.metrics import per_image_metrics
from mdelib.weights import find_weights
from mdelib.widgets import explore

lesson = course.start("00", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## Depth in one picture

# %%
size = lesson.pick(smoke=(48, 64), lab=(192, 256))
room = render_view("scenes-rooms", "test", 2, size)
limits = nearest, farthest = float(room.depth.min()), float(room.depth.max())
figure, axes = figures.new_figure(1, 2, height=3.1)
figures.show_image(axes[0], room.image, "what the camera sees")
drawn = figures.show_depth(axes[1], room.depth, "what we want to know", limits=limits)
figure.colorbar(drawn, ax=axes[1], label="depth (m)")
lesson.figure(figure, "one_picture",
              "A room and its depth map. Near is bright, far is dark, here and in all notebooks.",
              alt="Left a rendered living room, right the same view in shades that tell how far "
                  "each pixel is.")

# %%
lesson.say(f"A depth map is an image with one number a pixel: metres. This one has {size[0]} rows "
           f"and {size[1]} columns. Its nearest pixel is {nearest:.2f} m away, its farthest "
           f"{farthest:.2f} m. In the library it is a tensor of the shape "
           f"`{tuple(room.depth[None].shape)}`: batch, channel, height, width.")

# %% [markdown]
# The left picture does not determine the right one. A photograph of a doll's house, taken from a hundredth of the
# distance, would be the same photograph. Only habits make one answer likelier than all others: doors are two metres
# high, floors are flat, near things hide far things. A network must learn such habits. An explanation should tell
# which of them it used.

# %% [markdown]
# ## Depth is not distance
#
# "How far away" can mean two things. In this field **depth** is measured along the axis of the camera, straight ahead.
# The length of the line of sight is another number, called **range**. Seen from above, the two look like this.

# %%
points = geometry.backproject(room.depth[None], room.intrinsics)[0]
x, height, z = (channel.flatten().numpy() for channel in points)
floor_first = np.argsort(-height)  # y points down; what is higher is drawn later
ceiling = room.extras["objects"].flatten().numpy() == 3  # drawn, it would hide the room
keep = floor_first[~ceiling[floor_first]]
colours = room.image.permute(1, 2, 0).reshape(-1, 3).numpy()
figure, axis = figures.new_figure(1, 1, height=4.6)
axis.scatter(x[keep], z[keep], c=colours[keep], s=lesson.pick(smoke=12, lab=3), linewidths=0)
figures.draw_camera_from_above(axis, room.intrinsics, size, depth=0.75 * farthest)
axis.set(xlabel="to the right (m)", ylabel="straight ahead (m)", aspect="equal")
lesson.figure(figure, "from_above",
              "The same room from above: every pixel put where its depth says. The straight line "
              "joins places of one depth, the arc places of one range.",
              alt="A top view of the room as coloured points inside the camera's wedge of sight, "
                  "with a straight line of equal depth and an arc of equal range.")

# %% [markdown]
# Each pixel was sent out along its line of sight, until its depth was reached. That takes the camera's focal lengths
# $f_x, f_y$ and the pixel $(c_x, c_y)$ that looks straight ahead. They stand in one 3 × 3 matrix, the **intrinsics**.
# The pixel in column $u$ and row $v$ with depth $z$ shows the point
#
# $$P = z \left( \frac{u - c_x}{f_x},\; \frac{v - c_y}{f_y},\; 1 \right), \qquad
#   \mathrm{range} = \lVert P \rVert = z \sqrt{1 + \left(\tfrac{u - c_x}{f_x}\right)^2 + \left(\tfrac{v - c_y}{f_y}\right)^2}.$$
#
# In code it is four lines. By hand: 100 pixels beside the axis, with a focal length of 100 pixels, the line of sight
# leaves at 45°.

# %% tags=["nbval-check-output"]
def to_point(u, v, z, intrinsics):
    """The point that pixel (u, v) of depth z shows: metres to the right, down and ahead."""
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    return torch.stack([z * (u - cx) / fx, z * (v - cy) / fy, z])

intrinsics = torch.tensor([[100.0, 0.0, 64.0], [0.0, 100.0, 48.0], [0.0, 0.0, 1.0]])
point = to_point(torch.tensor(164.0), torch.tensor(48.0), torch.tensor(2.0), intrinsics)
print("point", point.tolist(), "depth", point[2].item(), "range", round(point.norm().item(), 4))

# %% [markdown]
# The library does the same for whole images.

# %% tags=["nbval-check-output"]
wall = torch.full((1, 1, 96, 200), 2.0)
same_point = geometry.backproject(wall, intrinsics)[0, :, 48, 164]
same_range = geometry.depth_to_range(wall, intrinsics)[0, 0, 48, 164]
print("same point:", torch.allclose(same_point, point))
print("same range:", torch.allclose(same_range, point.norm()))

# %% [markdown]
# Does it matter? Suppose a laser scanner wrote down ranges and somebody read them as depths. All numbers would be
# exact, and yet:

# %%
count = lesson.pick(smoke=4, lab=20)
camera_views = datasets.load("scenes-rooms", "test", count=count, size=lesson.size).tensors()
ranges = geometry.depth_to_range(camera_views.depth, camera_views.intrinsics)
scores = evaluation.score(ranges, camera_views.depth, camera_views.mask, "rooms")
lesson.say(f"Ranges read as depths are wrong by {scores['abs_rel']:.1%} on average (AbsRel, the "
           f"mean of error over depth, on {len(camera_views)} rendered rooms). No network erred, "
           "and yet that is the score. So ask any data set first which of the two it holds. All of "
           "ours hold depth.")

# %% [markdown]
# ## Not every pixel has a depth
#
# The sky has none. A laser reaches a pixel here and there. A depth camera fails on glass, on black cloth and on edges.
# So a depth map comes with a **mask**: True where the depth is known. Whatever is computed from depth, a loss, an error,
# a mean, counts only pixels inside the mask. A mask is easily forgotten, and nothing warns: an unknown
# depth is stored as 0, and 0 is a number too.

# %%
street = render_view("scenes-streets", "test", 1, size)
lidar = street.extras["lidar"]
figure, axes = figures.new_figure(1, 3, height=2.3)
figures.show_image(axes[0], street.image, "a rendered street")
drawn = figures.show_depth(axes[1], street.depth, "its depth", limits=(0, 80), mask=street.mask)
figures.show_depth(axes[2], lidar, "what a laser scanner keeps", limits=(0, 80), mask=lidar > 0)
figure.colorbar(drawn, ax=axes, label="depth (m)", pad=0.01)
lesson.figure(figure, "street",
              "A street. Grey pixels are unknown: the sky, and all that the scanner's beams "
              "missed.",
              alt="A street with cars, its depth map with a grey sky, and the sparse points of a "
                  "laser scanner in rows.")
# %%
lesson.say(f"In this view {float(street.mask.float().mean()):.0%} of the pixels have a depth, and "
           f"the scanner keeps {float((lidar > 0).float().mean()):.1%}. KITTI, the data set of real "
           "streets, has only the latter kind.")

# %% [markdown]
# ## The data sets
#
# The course knows six. Two of them it renders by itself, when they are first used; four hold photographs.

# %%
found = {name: "not yet" if text.startswith(("not found", "no ")) else "yes"
         for name, text in datasets.present().items()}
lesson.table(pd.DataFrame([
    {"name": name, "what": info.title, "pictures": "photographs" if info.real else "rendered",
     "evaluated up to (m)": f"{info.max_depth:g}", "crop": info.crop or "none", "here": found[name]}
    for name, info in datasets.DATASETS.items()]), "datasets",
    "The data sets by the name that the parameter `data` takes. Missing ones are fetched with `mde "
    "data NAME`.")

# %%
shown = {name: datasets.load(name, "test", count=lesson.pick(smoke=6, lab=12), size=lesson.size)
         for name in dict.fromkeys(["scenes-rooms", "scenes-streets", lesson.data])}
def part_title(name):
    return datasets.DATASETS[name].title

for name, part in shown.items():
    images = [part[index].image for index in range(len(part))]
    title = part_title(name)
    lesson.figure(figures.image_grid(images), f"contact_{name}", f"The first views of {title}.",
                  alt=f"A contact sheet of {len(images)} views of {title}.")

# %% [markdown]
# ## What a rendered view knows
#
# A photograph comes with a depth map at best. A rendered view comes with everything that made it.

# %%
figure, axes = figures.new_figure(1, 4, height=1.85)
figures.show_image(axes[0], room.image, "image")
figures.show_depth(axes[1], room.depth, "depth", limits=limits)
figures.show_normals(axes[2], room.extras["normals"], "normals")
figures.show_labels(axes[3], room.extras["objects"], "objects")
lesson.figure(figure, "layers",
              "Four layers of one view. Normals: red faces right, green faces up, blue faces you. "
              "Objects: one colour each.",
              alt="A room as an image, as depth, as surface normals in red, green and blue, and as "
                  "coloured objects.")

# %% [markdown]
# And it can be rendered *again*, with one thing changed. Painters have known for centuries what makes a flat picture
# look deep. Four of these **cues** can be switched off here, one at a time:
#
# - **shadows**: no cast shadows, no darkening in corners
# - **texture**: every surface has one colour
# - **contact**: a veil hides where things touch the floor
# - **size**: near things are shrunk, so that size no longer says how near they are
#
# This is why the course renders scenes: *when a picture changes in one cue only, we know which pixels carried the cue
# and what the true depth is, so an explanation can be right or wrong.* No photograph offers that.

# %%
VIEWS = [2, 3, 5, 10, 14]
rendered = {(view, cue): render_view("scenes-rooms", "test", view, lesson.size, without=cue)
            for view in VIEWS for cue in (None, *CUES)}

def draw_cue(view, cue):
    before, after = rendered[view, None], rendered[view, cue]
    figure, axes = figures.new_figure(1, 4, height=1.9)
    figures.show_image(axes[0], before.image, "as it is")
    figures.show_image(axes[1], after.image, f"without {cue}")
    figures.show_signed(axes[2], after.extras["cue_pixels"], "changed pixels", limit=1.5)
    figures.show_depth(axes[3], after.depth, "depth without the cue", limits=(0, before.depth.max()))
    return figure

# %%
explore(draw_cue, {"view": VIEWS, "cue": list(CUES)},
        [{"view": 2, "cue": "shadows"}, {"view": 10, "cue": "texture"},
         {"view": 14, "cue": "size"}],
        lesson=lesson, name="cue", caption="View {view} without its {cue}.",
        alt="A room as it is and without {cue}, the pixels that changed, and the depth, in view "
            "{view}.")

# %% [markdown]
# Look at the last column. Without shadows or texture the room is the same room, so its depth is too. Without size it
# is not: things really became smaller. A study of the size cue must compare each picture with its own truth.

# %% [markdown]
# ## Where depth sits
#
# Now the numbers. How far are things, and where in the picture?

# %%
parts = {name: lesson.views("test", name) for name in shown}
figure = figures.depth_statistics({part_title(name): (part.depth, part.mask)
                                   for name, part in parts.items()})
lesson.figure(figure, "where_depth_sits",
              "Left: how often each depth occurs. Right: the mean depth of each row of pixels. The "
              "bottom of a picture is near.",
              alt="Histograms of depth, rooms around three metres and streets spread to eighty; "
                  "and mean depth by row, smallest at the bottom of the picture.")

# %% [markdown]
# The right panel is a gift to any network, and a trap for any study. Depth can be guessed from the *position* of a
# pixel, without looking at the picture at all.
#
# ## What position alone scores
#
# Take the training views and average the depth of every pixel. With $m_i(p) = 1$ where view $i$ knows pixel $p$:
#
# $$\bar d(p) = \frac{\sum_i m_i(p)\, d_i(p)}{\sum_i m_i(p)}$$

# %%
count = lesson.pick(smoke=8, lab=100, study=None)
train = datasets.load(lesson.data, "train", count=count, size=lesson.size).tensors(lesson.size)
known = torch.where(train.mask, train.depth, 0.0).sum(0, keepdim=True)
by_hand = known / train.mask.sum(0, keepdim=True).clamp(min=1)
prior_map = priors.mean_depth_map(train.depth, train.mask)
everywhere = train.mask.any(0, keepdim=True)
same = torch.allclose(by_hand[everywhere], prior_map[everywhere], rtol=1e-4)
print("same as the library's:", same)

# %% [markdown]
# Is the whole map needed? For comparison, two simpler answers: one depth for everything, and one for each row.

# %%
guesses = {"one number for all pixels": train.depth[train.mask].mean().expand_as(prior_map),
           "one number a row": prior_map.mean(-1, keepdim=True).expand_as(prior_map),
           "one number a pixel": prior_map}

# %%
protocol = protocols.default_protocol(lesson.data)
test = lesson.load("test")
titles = {"abs_rel": "AbsRel ↓", "rmse": "RMSE (m) ↓", "delta1": "δ1 ↑"}
table = []
for name, guess in guesses.items():
    prior = priors.PositionPrior(guess)
    errors = evaluation.evaluate(prior, test, protocol, size=lesson.size)[1]
    table.append({"answer to every picture": name,
                  **{title: float(errors[key].mean()) for key, title in titles.items()}})
lesson.table(pd.DataFrame(table), "position_prior",
             f"What can be scored with closed eyes, on {len(test)} test views of "
             f"{lesson.info.title}. AbsRel and RMSE are errors; δ1 is the share of pixels that are "
             "right within a factor of 1.25. Notebook 01 defines them.")

# %%
figure, axes = figures.new_figure(1, 3, height=2.3)
top = float(prior_map.max())
for axis, (name, guess) in zip(axes, guesses.items(), strict=True):
    drawn = figures.show_depth(axis, guess, name, limits=(0, top))
figure.colorbar(drawn, ax=axes, label="depth (m)", pad=0.01)
lesson.figure(figure, "prior_maps",
              f"The three answers, fitted to {len(train)} training views. The last is the "
              "**position prior**, the baseline of this course.",
              alt="A flat map, a map of horizontal bands, and a smooth map that is near at the "
                  "bottom and far in the middle.")

# %% [markdown]
# Remember the last row of the table. A network that scores no better has not shown that it looks at the picture. An
# explanation that would suit the prior as well explains nothing about the network.

# %% [markdown]
# ## One prediction with a real network
#
# Two networks are at hand in this pack, at most. The **lab CNN** is Hu et al.'s network (2019), narrowed, and trained
# on rendered rooms; it is in the pack's folder `weights`. **METER** (Papa et al. 2023) is the light network that
# cirillo2025 explains; **METER-XXS** is its smallest size. Its authors published weights trained on NYU;
# `mde data meter` fetches them.

# %%
def at_hand(weights):
    try:
        return find_weights(weights).is_file()
    except FileNotFoundError:
        return False

released = at_hand("meter_xxs_nyu")
networks = {"position prior": priors.PositionPrior(prior_map)}
if at_hand("rooms_cnn"):
    networks["lab CNN"] = models.create_model("hu_resnet50", weights="rooms_cnn")
if released:
    networks["METER-XXS"] = models.create_model("meter_xxs", weights="meter_xxs_nyu")
networks = {name: network.to(lesson.device) for name, network in networks.items()}
main = "METER-XXS" if released and lesson.info.real else list(networks)[min(1, len(networks) - 1)]
lesson.say(f"Here now: {', '.join(networks)}. We look at the **{main}**" +
           ("." if released else "; METER's weights are not in the data folder."))

# %%
def size_of(network):
    return getattr(network, "size", None) or lesson.size  # its own, or else the one of this lesson

def measured(network, views, rule):
    def scale_given(pred, target, mask):
        right = per_image_metrics(pred, target, mask, max_depth=rule.max_depth, align="median")
        return {"abs_rel given": right["abs_rel"], "delta1 given": right["delta1"]}
    return evaluation.evaluate(network, views, rule, size=size_of(network), extra=scale_given)[1]

def predicted(network, image):
    depth = evaluation.predict(network, resize_image(image, size_of(network))[None])
    return evaluation.resize_prediction(depth, image.shape[-2:])[0]

# %%
scores = {name: measured(network, test, protocol) for name, network in networks.items()}
order = scores[main]["abs_rel"].argsort().tolist()
chosen = {"best": order[0], "middling": order[len(order) // 2], "worst": order[-1]}
lesson.say("Which views to show? Picking pretty ones would be a lie. We sort all "
           f"{len(test)} test views by the network's error and take the best (AbsRel "
           f"{scores[main]['abs_rel'][order[0]]:.3f}), the one in the middle "
           f"({scores[main]['abs_rel'][order[len(order) // 2]]:.3f}) and the worst "
           f"({scores[main]['abs_rel'][order[-1]]:.3f}).")

# %%
rows, masks = [], []
for index in chosen.values():
    view = test[index]
    prediction = predicted(networks[main], view.image)
    rows.append({"image": view.image, "ground truth": view.depth, "prediction": prediction,
                 "error": prediction - view.depth})
    masks.append(view.mask)
top = max(float(row["ground truth"].max()) for row in rows)
figure = figures.image_rows(rows, masks=masks, depth_limits=(0, top), error_limit=top / 4)
lesson.figure(figure, "predictions",
              f"Best, middling and worst view of the {main}. One depth scale and one error scale "
              "for all; red is predicted too far, blue too near.",
              alt="Three rows of image, true depth, predicted depth and signed error, from the "
                  "best view to the worst.")

# %% [markdown]
# Read the error column, not the prediction. Predictions look alike and convincing. The errors show what kind of
# mistake it is: a whole wall too far (the scale is wrong), or a thin red and blue seam (the outline is blurred).

# %%
kinds = {"position prior": "the mean of training views", "lab CNN": "rendered rooms",
         "METER-XXS": "NYU, by its authors"}
table = pd.DataFrame([
    {"network": name, "trained on": kinds[name],
     "parameters": f"{models.count_parameters(networks[name]) or prior_map.numel():,}",
     **{title: float(errors[key].mean()) for key, title in titles.items()}}
    for name, errors in scores.items()])
lesson.table(table, "networks",
             f"On {len(test)} test views of {lesson.info.title}, protocol “{protocol.title}”. Rows "
             "are comparable: same views, same pixels, same rule.")

# %% [markdown]
# ## The same network elsewhere
#
# A network knows the world that it was trained on. Show it another one, and two things go wrong. Metres are the first:
# another camera, another typical room. The second is structure. To tell them apart, we also give away the scale: each
# prediction is multiplied so that its median is right.

# %%
other = "scenes-streets" if lesson.data == "scenes-rooms" else "scenes-rooms"
away = lesson.load("test", other)
columns = {"abs_rel": "AbsRel ↓", "abs_rel given": "AbsRel, scale given ↓", "delta1": "δ1 ↑",
           "delta1 given": "δ1, scale given ↑"}
rule, table = protocols.default_protocol(other), []
elsewhere = {name: measured(network, away, rule) for name, network in networks.items()}
for name in networks:
    for part, errors in ((test, scores[name]), (away, elsewhere[name])):
        table.append({"network": name, "measured on": part.info.title,
                      **{title: float(errors[key].mean()) for key, title in columns.items()}})
lesson.table(pd.DataFrame(table), "elsewhere", f"The same networks on {lesson.info.title} and on "
             f"{away.info.title}. The scale is given by the ratio of medians, view by view.")

# %%
here, there = scores[main], elsewhere[main]
lesson.say(f"The {main} goes from an AbsRel of {here['abs_rel'].mean():.3f} on {lesson.info.title} to "
           f"{there['abs_rel'].mean():.3f} on {away.info.title}. With the scale given away, it goes "
           f"from {here['abs_rel given'].mean():.3f} to {there['abs_rel given'].mean():.3f}.")

# %% [markdown]
# If giving the scale away mends the numbers, the shapes were right and only the metres were wrong. If it does not, the
# shapes are wrong too. Keep the two apart when a paper tests on a second data set, as huynh2021 does.
#
# ## The authors' weights on photographs
#
# Pictures of NYU may not be republished, numbers may. This is METER-XXS as its authors released it, measured on the
# NYU test views that are at hand, in the crop of Eigen et al. (2014), which most papers use.

# %%
live = released and lesson.data == "nyu"
meter = lesson.results("released_meter") if live else lesson.reference("released_meter")
if meter:
    frame = verdicts.summary(meter, list(titles), {"authors": "METER-XXS, authors' NYU weights"})
    frame = frame.rename(columns=titles)
    frame["test views"] = [len(result.names) for result in meter[:1]]
    lesson.table(frame, "released_meter", "METER-XXS on NYU. Nothing was trained by us.",
                 sources=meter)
else:
    lesson.say("This reference run has not been made yet. `mde data nyu`, `mde data meter` and "
               "then `mde run released_meter --data nyu --scale study` make it.")

# %% [markdown]
# What cirillo2025 itself measured with METER is not known to us: we have its abstract, not its tables. So there is
# nothing to print beside our numbers. The parameters can be compared. They depend on no data, and they are the first
# sign that a network was rebuilt rightly.

# %% tags=["nbval-check-output"]
meter_sizes = papers.load_table("cirillo2025", "meter_sizes").assign(source="released code")
hu = papers.load_table("huynh2021", "table1").query("row == 'Hu et al.' and column == 'params'")
hu = hu.assign(row="hu_senet154", source="huynh2021, Table 1")
rows = []
for entry in pd.concat([meter_sizes, hu]).itertuples():
    with torch.device("meta"):  # shapes without numbers: no memory is needed
        count = models.count_parameters(models.create_model(entry.row, scale="paper")) / 1e6
    digit = 0.001 if entry.row.startswith("meter") else 0.1
    rows.append({"network": entry.row, "theirs (M)": entry.value, "ours (M)": f"{count:.3f}",
                 "apart by (last digits)": round(abs(count - entry.value) / digit, 1),
                 "from": entry.source})
print(pd.DataFrame(rows).to_string(index=False))

# %% [markdown]
# The last digit of their count is rounded, so up to half a digit is agreement. The three METERs agree. Hu et al.'s
# network is one digit off, less than a thousandth of its size. We do not know why.

# %% [markdown]
# ## What we had to decide
#
# Depth maps are stored at one size and learned at another. Papers seldom say how they were made smaller, and it
# matters. Shrink a depth map by averaging, and at every outline a depth appears that lies between the lamp post and
# the house behind it. Nothing is there. At the sky it is worse: unknown pixels are zeros, and the zeros are averaged in.
# Taking the nearest pixel keeps every depth real. All loaders of this library do that.

# %%
fine, small = street.depth[None], [n // 4 for n in size]
kept = torch.nn.functional.interpolate(fine, size=small, mode="nearest-exact")
averaged = torch.nn.functional.interpolate(fine, size=small, mode="area")
apart = torch.where(kept > 0, (kept - averaged).abs() / kept, 0.0)
figure, axes = figures.new_figure(1, 3, height=2.3)
figures.show_depth(axes[0], kept, "nearest pixel", limits=(0, 80), mask=kept > 0)
drawn = figures.show_depth(axes[1], averaged, "averaged", limits=(0, 80), mask=averaged > 0)
figure.colorbar(drawn, ax=axes[:2], label="depth (m)", pad=0.01)
figures.show_signed(axes[2], (apart > 0.05).float(), "apart by over 5 % (red)", limit=1.5)
lesson.figure(figure, "shrinking", "One depth map, four times smaller, in two ways.",
              alt="Two small depth maps of a street, alike but for the outlines, where they "
                  "differ.")
lesson.say(f"On this street {float((apart > 0.05)[kept > 0].float().mean()):.0%} of the known "
           "pixels differ by more than 5 %. Taken as a prediction, the averaged map has an AbsRel "
           f"of {float(apart[kept > 0].mean()):.3f} against the other.")

# %% [markdown]
# Three more decisions, each kept in one place of the library:
#
# - **Depth, not range.** Decided otherwise, every error changes as computed above.
# - **The mean over images.** Each test view weighs the same, however many of its pixels are known. Notebook 01 shows
#   what the other way does.
# - **The prior is a mean.** A median would have a smaller absolute error and a larger squared one. Either is a fair
#   baseline, as long as it is the same for all.

# %% [markdown]
# ## Verdict
#
# No paper's claim was tested here. One of ours was: that the network looks at the picture.

# %%
error, guess = (scores[name]["abs_rel"].numpy() for name in (main, "position prior"))
gain, (low, high) = verdicts.paired_interval(guess, error)
if main == "position prior":
    lesson.say("No trained network was at hand, so there is nothing to judge.")
else:
    decided = {"agrees": "It does look", "disagrees": "It does worse than closed eyes",
               "inconclusive": "These views cannot tell"}[verdicts.verdict((low, high), "greater")]
    lesson.say(f"The AbsRel of the {main} is smaller than the position prior's by **{gain:.3f}** "
               f"(95 % paired bootstrap interval {low:.3f} to {high:.3f}, {len(error)} views of "
               f"{lesson.info.title}). **{decided}.** It is the better one on "
               f"{float((error < guess).mean()):.0%} of the views.")

# %% [markdown]
# ## Your own pictures
#
# Put images into a folder, and the folder is a data set. If you have depth maps, put them beside, under the same names
# in a subfolder `depth`: a 16-bit PNG in millimetres, or a NumPy file in metres. Here we make such a folder, with two
# images and one depth map.

# %%
with tempfile.TemporaryDirectory() as place:
    folder = Path(place)
    (folder / "depth").mkdir()
    for name, view in {"my_room": room, "my_street": street}.items():
        pixels = (view.image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png")
    np.save(folder / "depth" / "my_room.npy", room.depth[0].numpy())
    mine = list(datasets.load(f"folder:{folder}").stream())
for view in mine:
    prediction = predicted(networks[main], view.image)
    known = "with depth" if view.depth is not None else "without depth"
    print(f"{view.name}: {tuple(view.image.shape)}, {known}; predicted from {prediction.min():.1f} "
          f"to {prediction.max():.1f} m, in the middle {prediction.median():.1f} m")

# %% [markdown]
# From a terminal: `mde doctor` says what is here, and `data = "folder"` in the parameters cell takes the folder `folder`
# of the data folder. Your own network fits in as well: `mdelib.models.wrap(module)` turns anything that maps an image to
# a depth map into a network of the course.

# %% [markdown]
# ## How the course works
#
# Each notebook runs from top to bottom on a laptop, in minutes at most. It can, because of the **scale**:

# %%
uses = {"smoke": "does every cell run?", "lab": "learning, on a laptop",
        "study": "the committed reference results", "paper": "the papers' own sizes, on a GPU"}
lesson.table(pd.DataFrame([
    {"scale": name, "for": uses[name],
     "training views": course.VIEWS[name][0] or "all", "test views": course.VIEWS[name][1] or "all",
     "rows × columns": " × ".join(map(str, course.SIZES[name]))}
    for name in uses]), "scales",
             "The four scales. The parameter `scale` chooses one; numbers of different scales "
             "never share a row of a table.")

# %% [markdown]
# **Where results come from.** A training is described in a file in `experiments`, run once, and kept in `runs` under a
# key. The key is made from the settings, the data and the code that can change the numbers. If the key still fits, the
# result is loaded; if not, it is made again. A result in a table was therefore never typed. The small print under a
# table names the commit that made it.
#
# **Making everything again.** `make reproduce` prepares the data, trains what is missing, runs all notebooks and
# writes one report. It can be stopped at any time; it goes on where it was. `make reproduce DATA=nyu SCALE=study` does
# it with photographs.
#
# **Exercises.** A cell with `...  # your code` is yours. The cell below it checks your function on fresh inputs and
# says what is wrong. Unattempted exercises stop nothing. The folder `solutions` has the same notebooks, solved.
#
# ## The map

# %%
from mdelib.syllabus import course_map

lesson.say(course_map())

# %% [markdown]
# ## Exercises
#
# **1. From depth to range.** Write the formula from above for a whole map. `depth` is $H \times W$ in metres, the
# intrinsics are 3 × 3 as before. Pixel centres are at whole numbers: the first column is $u = 0$.

# %%
def my_range(depth, intrinsics):
    # <solution>
    u = torch.arange(depth.shape[1])[None, :]
    v = torch.arange(depth.shape[0])[:, None]
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return depth * (1 + x**2 + y**2).sqrt()
    # </solution>

# %%
check.range_along_ray(my_range)

# %% [markdown]
# **2. The position prior.** Write the mean depth of every pixel. `depth` and `mask` have the shape `(B, 1, H, W)`. A
# pixel that no view knows gets the mean of all known depths.

# %%
def my_mean_depth_map(depth, mask):
    # <solution>
    count = mask.sum(0, keepdim=True)
    total = torch.where(mask, depth, 0.0).sum(0, keepdim=True)
    return torch.where(count > 0, total / count.clamp(min=1), depth[mask].mean())
    # </solution>

# %%
check.mean_depth_map(my_mean_depth_map)

# %% [markdown]
# ## What to read next
#
# - Eigen, Puhrsch and Fergus, *Depth Map Prediction from a Single Image using a Multi-Scale Deep Network* (2014): where
#   the task, the errors and the crop come from.
# - Dijk and de Croon, *How Do Neural Networks See Depth in Single Images?* (2019): the networks that they looked
#   at use the position in the picture, and not the size of things.
# - Hartley and Zisserman, *Multiple View Geometry*, chapter 6: the camera matrix, properly.
#
# Then go on with notebook 01. AbsRel, RMSE and δ1 stood in the tables above as if they were facts of nature. They are
# conventions, and a change of convention can move them more than a new network does.
