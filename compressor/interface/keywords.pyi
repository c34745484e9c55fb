"""What keywords the functions of :mod:`compressor.api` take, for type checkers and editors.

Written from the settings by ``python -m tests.interface.write_keywords``; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from compressor.interface.samples import DataLike

class BenchKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.bench.BenchSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the models: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    min_speedup: float | None
    """Fail unless B is at least X times as fast as A, by medians, at every batch."""
    max_latency: float | str | None
    """Fail unless the median of the last model is at most this, such as 2.5ms, at every batch."""
    runs: int
    """Runs of each model that are timed at least."""
    seconds: float
    """Time that the timed runs take together at least."""
    max_seconds: float
    """Time after which no further pair is started, even where runs are missing."""
    warmup_runs: int
    """Runs before the clock counts, at least."""
    warmup_seconds: float
    """Time of the runs before the clock counts, at least."""
    rounds: int
    """How often both models are loaded anew; where a model comes to lie in memory changes its speed."""
    confidence: float
    """Confidence of the interval of the speed-up."""
    batch: Sequence[int] | str
    """Samples in one run, where the model leaves that open; several as 1,32 are measured one after the other.
    Default: 1."""
    profile: bool
    """Time every operator in both models."""
    memory: bool
    """Measure the memory of each model in a process of its own."""
    threads: int
    """Threads inside an operator; 0 leaves it to ONNX Runtime, which takes all cores."""
    io_binding: bool
    """On an accelerator, keep inputs and outputs in its memory, so that copies are not timed."""
    cuda_graph: bool
    """Record the kernels of a run once and replay them (CUDA, TensorRT; fixed shapes)."""

class CleanKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.base.CleanSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""

class PruneKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.prune.PruneSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to judge on, given like --data; by default a share of the data is set aside."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to calibrate on."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    device: str
    """Where training runs: auto, cpu, cuda or cuda:N."""
    amp: Literal["auto", "off", "bf16"]
    """Mixed precision: auto uses it on CUDA, bf16 on the CPU too."""
    compile: bool
    """Compile the module with torch.compile first."""
    checkpoint: str | PathLike[str] | None
    """Folder of the checkpoint. Default: beside the output, removed when the run ends well."""
    keep_checkpoint: bool
    """Leave the checkpoint when the run ends well."""
    resume: bool
    """Continue from the checkpoint."""
    metrics: str | PathLike[str] | None
    """Write one line of JSON for every epoch and report of progress."""
    epochs: int
    """Passes over the training samples."""
    optimiser: Literal["sgd", "adamw"]
    """SGD with Nesterov momentum, or AdamW. Default: sgd for convolutional networks, adamw for others."""
    learning_rate: float
    """Highest learning rate. Default: 0.01 for sgd, 0.0003 for adamw, 0.05 for sgd with BatchNormalization put in."""
    momentum: float
    """Momentum of SGD."""
    weight_decay: float
    """Weight decay of matrices and kernels; biases and norms have none."""
    warmup: float
    """Share of all steps in which the learning rate rises from zero."""
    final_rate: float
    """Share of the learning rate that is left at the end of the cosine."""
    clip_norm: float
    """Largest norm of the gradient of all parameters together; 0 turns clipping off."""
    ema: float
    """Decay of a running mean of the weights, which is kept instead of the last."""
    patience: int
    """Stop after N epochs without a better one; 0 never does."""
    train_bn: bool
    """Let BatchNormalization use and update the statistics of the batch."""
    insert_bn: bool
    """Put BatchNormalization, which exporters fold away, behind every layer while training lasts. Default: where SGD
    trains, and batches can be of any size."""
    expand: float
    """Train kernels as products of N times as many channels, merged at the end; 0 does not."""
    mean_weights: float
    """Keep the mean of the weights over this last share of all steps; 0 does not."""
    sweep: bool
    """Try several learning rates for an epoch each, and train with the best."""
    loss: str
    """What is minimised: distill, the distance to the original model, which needs no labels; cross-entropy with
    labels; mixed, both; or package.module:callable."""
    temperature: float
    """Temperature at which class scores are compared with the original's."""
    teacher_ensemble: int
    """Imitate the mean of N networks drawn around the original's weights, which train on labels for one more epoch
    first; 0 imitates the original."""
    alpha: float
    """Share of distillation in the mixed loss."""
    features: Sequence[str] | str
    """Intermediate value, by its name in the graph, to be matched too; repeatable."""
    feature_weight: float
    """Weight of matched intermediate values in the loss."""
    output_form: Mapping[str, str] | str
    """How an output is compared: NAME=kl (class scores on axis 1), NAME=kl:AXIS, NAME=mse or NAME=none; repeatable.
    Decided from its values where not given."""
    max_drop: float | str | None
    """Most accuracy that may be lost, such as 0.01 or 1%; of a metric that is no share, per cent of its value, or a
    number in its unit. Needs labels, or what --eval needs."""
    max_distance: float | str | None
    """Most that outputs may move, as a share of their norm on the samples, such as 0.05 or 5%; needs no labels."""
    max_size: float | int | str | None
    """Largest file that is accepted: bytes such as 500kB, or a share of the original."""
    sparsify: (
        Literal["dependency", "dependency-l2", "group", "feature-flow", "feature-flow-angle", "iss", "envelope",
        "admm", "decay", "tpp"] | str | None
    )
    """Train before the cut so that it costs less; with --recover finetune. How: dependency, dependency-l2, group,
    feature-flow, feature-flow-angle, iss, envelope, admm, decay, tpp."""
    sparsify_epochs: int
    """Epochs of that training."""
    sparsify_strength: float | None
    """Strength of the method, in its own unit (docs/sparsity-training.md). Default: its own."""
    decay_epochs: int
    """Epochs in which what goes fades to zero while the rest trains, before it is cut: the same as --sparsify decay
    --sparsify-epochs N."""
    reinitialise: Literal["no", "before", "after", "orthogonal"]
    """Forget the trained weights: before, and score fresh ones (pruning at initialisation, see docs/sparsity-
    training.md); or after the cut, and train what is left from scratch. Or make the filters that are left
    orthogonal to each other, so that they train well. With --recover finetune."""
    rewind: int | str | None
    """Lottery ticket: train fresh weights for EPOCH epochs (init: 0) and keep them, train on for --epochs and choose
    what goes by that, cut it from what was kept, and train that for --epochs; again for each of --steps. With
    --recover finetune."""
    recover: Literal["auto", "none", "distill", "finetune", "bias", "lstsq"] | str
    """What restores accuracy after each step: bias correction or least-squares reconstruction from samples, given or
    made up; distill, the latter and some steps of training towards the original's outputs; finetune, the latter
    and training as you say; none; or auto, the best that takes seconds."""
    refit_last: bool
    """In the end fit the last layer of a classifier to labels in closed form; kept where samples that were held out
    are then missed less often. Needs --data with labels."""
    trainability: bool
    """Report the mean singular value of the Jacobian before and after: how well the result trains."""
    robustness: bool
    """Also measure how the original and the result stand noise and corrupted images, on --samples samples, and
    report the curves."""
    op_rules: str | PathLike[str] | None
    """YAML file that says how channels flow through operators of other domains; the proof tells whether it is right."""
    also: Sequence[str] | str
    """Another file of the same model, such as the decoder of an encoder, which reads outputs of those before it: its
    inputs of the same names, or IN=OUT; all are pruned as one, and written beside the output as FILE.pruned.onnx;
    repeatable."""
    keep_functions: bool
    """Keep calls of the model's local functions where the cut changes nothing in them; the others are inlined, and
    named."""
    criterion: (
        Literal["l1", "l2", "consumers", "dependency", "product", "fpgm", "lamp", "taylor", "fisher", "hessian",
        "snip", "grasp", "synflow", "activation", "wanda", "pfp", "chip", "random"] | str
    )
    """What makes a channel important; the least important are removed first: l1, l2, consumers, dependency, product,
    fpgm, lamp, taylor, fisher, hessian, snip, grasp, synflow, activation, wanda, pfp, chip, random. Default:
    consumers, or activation with data."""
    scope: Literal["auto", "loss", "local", "global", "sensitivity"]
    """Where channels go: loss, where outputs lose least, as measured on samples; local, the same share from every
    group; global, the lowest scores of the whole model; sensitivity, as the report of --sensitivity says; auto,
    that where it is given, loss where there are samples, else local."""
    aggregate: Literal["mean", "sum", "max"]
    """How the scores of all weights that a channel touches become one score."""
    normalise: Literal["mean", "max", "none"]
    """What the scores of a group are divided by before groups are compared."""
    sensitivity: str | PathLike[str] | None
    """Report of onnx-compress sensitivity on this model: how much each group loses follows from what that was
    measured to cost, which one in a group from the criterion."""
    include: Sequence[str] | str
    """Prune only groups that match GLOB by their name, a node or a weight; repeatable."""
    exclude: Sequence[str] | str
    """Leave alone groups that match GLOB by their name, a node or a weight; repeatable."""
    attention: Literal["heads", "dims"]
    """In attention, remove whole heads, or as many dimensions from every head."""
    cache_heads: bool
    """Let heads of a key/value cache go too: its inputs and outputs are declared anew, with fewer."""
    free_outputs: Sequence[str] | str
    """Let this output lose channels, so that it is declared anew with fewer of them; repeatable."""
    depth: bool
    """Let residual blocks go as a whole, too: they are one more group, called depth, which loses its share as well."""
    keep_tokens: str | PathLike[str] | None
    """Keep only the tokens whose numbers FILE lists; they are numbered anew, and a file beside the result says how."""
    keep_norm_axes: bool
    """Keep all channels that a LayerNorm or a mean runs over, so that no statistic changes."""
    structure: (
        Literal["channels", "lowrank", "both", "groups", "graph", "supports", "nm", "interspace",
        "interspace-columns"] | str
    )
    """What goes: channels, lowrank, both, groups, graph, supports, nm, interspace, interspace-columns. channels:
    whole channels; lowrank: a layer becomes two thinner ones; both: of channels and ranks what outputs lose least
    by; the others are masks over single weights of convolutions, or over the coefficients of their kernels in a
    basis (docs/structures.md)."""
    lower: Literal["auto", "always", "never"]
    """Write masked convolutions as smaller ones: where that was measured to be faster on --provider, wherever it can
    be done, or nowhere, so that zeros stay."""
    basis: Literal["pca", "identity"]
    """Of --structure interspace: the basis that the kernels of a layer start from: their principal components, or
    single taps, by which coefficients are the weights."""
    coefficients: Literal["float16", "float32"]
    """Of --structure interspace: what coefficients are stored in; float32 where float16 is too rough."""
    batch: int
    """Samples in one run that is timed, where the model leaves that open."""
    threads: int
    """Threads inside an operator; 0 leaves it to ONNX Runtime, which takes all cores."""
    latency_cache: str | PathLike[str] | None
    """Folder that keeps measured operator times for later runs. Default: in the user's cache folder."""
    target_macs: float | str | None
    """Share of the multiply-accumulates (MACs) to keep, such as 0.5 or 50%."""
    target_params: float | str | None
    """Share of the parameters to keep."""
    target_size: float | int | str | None
    """File size to keep: a share such as 50%, or bytes such as 500kB or 1.5MB."""
    target_latency: str | None
    """Time of a run on --provider, such as 2.5ms or 0.6x of the original's; met within 3%."""
    lossless: bool
    """Remove only channels that are zero already, so that no output changes; takes no ratio or target."""
    objective: Literal["macs", "latency"]
    """What --ratio and --target-macs spend: multiply-accumulates, or as large a share of the time of a run on
    --provider, measured, so that channels go where time is."""
    layer_ratio: Sequence[tuple[str, float] | str] | str
    """Ratio of groups that match GLOB by their name, a node or a weight; repeatable, the first match counts."""
    max_ratio: float | str
    """Largest share of its channels that one group may lose."""
    round_to: int
    """Leave a multiple of N channels in each group, as odd widths run slowly; unless N is given, of 4 in groups
    narrower than 64, or of halves to meet the amount. 1 turns it off."""
    min_channels: int
    """Fewest channels that a group keeps."""
    steps: int
    """Prune in N steps, scoring and recovering anew in each."""
    schedule: Literal["linear", "cubic", "exponential"]
    """How fast the steps go: evenly, most at first, or by the same factor in each."""

class QuantizeKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.quantize.QuantizeSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to judge on, given like --data; by default a share of the data is set aside."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to calibrate on."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    max_drop: float | str | None
    """Most accuracy that may be lost, such as 0.01 or 1%; of a metric that is no share, per cent of its value, or a
    number in its unit. Needs labels, or what --eval needs."""
    max_distance: float | str | None
    """Most that outputs may move, as a share of their norm on the samples, such as 0.05 or 5%; needs no labels."""
    max_size: float | int | str | None
    """Largest file that is accepted: bytes such as 500kB, or a share of the original."""
    mode: Literal["auto", "static", "dynamic", "int4"]
    """auto: static, or dynamic where outputs stay clearly nearer to the original's or more weights are taken;
    static: weights and activations in int8, ranges of activations calibrated on samples; dynamic: weights in
    int8, ranges of activations taken while the model runs; int4: weights of matrix products in 4 bits."""
    per_channel: bool
    """A scale for each output of a weight instead of one a weight."""
    calibration: Literal["minmax", "entropy", "percentile"]
    """How the range of an activation is taken from samples, where they are calibrated."""
    block_size: int
    """Inputs that share a scale, with --mode int4; a power of two."""
    include: Sequence[str] | str
    """Quantise only the weights that match GLOB, by their name, their node's or their module's; repeatable."""
    exclude: Sequence[str] | str
    """Leave alone every weight that matches GLOB; repeatable."""
    latency: bool
    """Also time the original and the written model in turns, on --provider."""

class RobustnessKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.robustness.RobustnessSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """The same as --data, as other commands call samples to judge on; give one of the two."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to measure on, drawn at random from the data, or made up where there is none."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    margin: float | str
    """Accuracy that a model may lose against the original and still count as unharmed."""
    compression: Literal["params", "macs", "bytes"]
    """What the share that compression saves is counted in."""
    confidence: float
    """Confidence of the intervals."""
    noise: float
    """Largest amplitude of the uniform noise, in standard deviations of the input."""
    noise_levels: int
    """Amplitudes, evenly from zero to the largest."""
    draws: int
    """How often the noise of each amplitude is drawn."""
    corruptions: Sequence[str] | str
    """How images are corrupted: gaussian-noise, impulse-noise, blur, contrast, brightness, jpeg, or none. Default:
    all."""
    disturb: Sequence[str] | str
    """Disturb this input only; repeatable. Default: all floating-point inputs, and images of bytes."""
    normalised: bool
    """The data is normalised already: --mean and --std tell what its pixels were, and change nothing."""

class SensitivityKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.sensitivity.SensitivitySettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the models: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to measure on, given like --data, whose own then only rank channels. Default: those of --data."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to measure on, drawn at random."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    device: str
    """Where training runs: auto, cpu, cuda or cuda:N."""
    amp: Literal["auto", "off", "bf16"]
    """Mixed precision: auto uses it on CUDA, bf16 on the CPU too."""
    compile: bool
    """Compile the module with torch.compile first."""
    checkpoint: str | PathLike[str] | None
    """Folder of the checkpoint. Default: beside the output, removed when the run ends well."""
    keep_checkpoint: bool
    """Leave the checkpoint when the run ends well."""
    resume: bool
    """Continue from the checkpoint."""
    metrics: str | PathLike[str] | None
    """Write one line of JSON for every epoch and report of progress."""
    epochs: int
    """Passes over the training samples."""
    optimiser: Literal["sgd", "adamw"]
    """SGD with Nesterov momentum, or AdamW. Default: sgd for convolutional networks, adamw for others."""
    learning_rate: float
    """Highest learning rate. Default: 0.01 for sgd, 0.0003 for adamw, 0.05 for sgd with BatchNormalization put in."""
    momentum: float
    """Momentum of SGD."""
    weight_decay: float
    """Weight decay of matrices and kernels; biases and norms have none."""
    warmup: float
    """Share of all steps in which the learning rate rises from zero."""
    final_rate: float
    """Share of the learning rate that is left at the end of the cosine."""
    clip_norm: float
    """Largest norm of the gradient of all parameters together; 0 turns clipping off."""
    ema: float
    """Decay of a running mean of the weights, which is kept instead of the last."""
    patience: int
    """Stop after N epochs without a better one; 0 never does."""
    train_bn: bool
    """Let BatchNormalization use and update the statistics of the batch."""
    insert_bn: bool
    """Put BatchNormalization, which exporters fold away, behind every layer while training lasts. Default: where SGD
    trains, and batches can be of any size."""
    expand: float
    """Train kernels as products of N times as many channels, merged at the end; 0 does not."""
    mean_weights: float
    """Keep the mean of the weights over this last share of all steps; 0 does not."""
    sweep: bool
    """Try several learning rates for an epoch each, and train with the best."""
    loss: str
    """What is minimised: distill, the distance to the original model, which needs no labels; cross-entropy with
    labels; mixed, both; or package.module:callable."""
    temperature: float
    """Temperature at which class scores are compared with the original's."""
    teacher_ensemble: int
    """Imitate the mean of N networks drawn around the original's weights, which train on labels for one more epoch
    first; 0 imitates the original."""
    alpha: float
    """Share of distillation in the mixed loss."""
    features: Sequence[str] | str
    """Intermediate value, by its name in the graph, to be matched too; repeatable."""
    feature_weight: float
    """Weight of matched intermediate values in the loss."""
    output_form: Mapping[str, str] | str
    """How an output is compared: NAME=kl (class scores on axis 1), NAME=kl:AXIS, NAME=mse or NAME=none; repeatable.
    Decided from its values where not given."""
    max_drop: float | str | None
    """A ratio is safe where it costs no more accuracy, such as 0.01 or 1%; needs labels. Default: 0.01 with labels,
    unless --max-distance is given."""
    max_distance: float | str | None
    """A ratio is safe where outputs move by no more, as a share of their norm. Default: 0.1 without labels."""
    max_size: float | int | str | None
    """Largest file that is accepted: bytes such as 500kB, or a share of the original."""
    sparsify: (
        Literal["dependency", "dependency-l2", "group", "feature-flow", "feature-flow-angle", "iss", "envelope",
        "admm", "decay", "tpp"] | str | None
    )
    """Train before the cut so that it costs less; with --recover finetune. How: dependency, dependency-l2, group,
    feature-flow, feature-flow-angle, iss, envelope, admm, decay, tpp."""
    sparsify_epochs: int
    """Epochs of that training."""
    sparsify_strength: float | None
    """Strength of the method, in its own unit (docs/sparsity-training.md). Default: its own."""
    decay_epochs: int
    """Epochs in which what goes fades to zero while the rest trains, before it is cut: the same as --sparsify decay
    --sparsify-epochs N."""
    reinitialise: Literal["no", "before", "after", "orthogonal"]
    """Forget the trained weights: before, and score fresh ones (pruning at initialisation, see docs/sparsity-
    training.md); or after the cut, and train what is left from scratch. Or make the filters that are left
    orthogonal to each other, so that they train well. With --recover finetune."""
    rewind: int | str | None
    """Lottery ticket: train fresh weights for EPOCH epochs (init: 0) and keep them, train on for --epochs and choose
    what goes by that, cut it from what was kept, and train that for --epochs; again for each of --steps. With
    --recover finetune."""
    recover: Literal["auto", "none", "distill", "finetune", "bias", "lstsq"] | str
    """What restores accuracy after each step: bias correction or least-squares reconstruction from samples, given or
    made up; distill, the latter and some steps of training towards the original's outputs; finetune, the latter
    and training as you say; none; or auto, the best that takes seconds."""
    refit_last: bool
    """In the end fit the last layer of a classifier to labels in closed form; kept where samples that were held out
    are then missed less often. Needs --data with labels."""
    trainability: bool
    """Report the mean singular value of the Jacobian before and after: how well the result trains."""
    robustness: bool
    """Also measure how the original and the result stand noise and corrupted images, on --samples samples, and
    report the curves."""
    op_rules: str | PathLike[str] | None
    """YAML file that says how channels flow through operators of other domains; the proof tells whether it is right."""
    also: Sequence[str] | str
    """Another file of the same model, such as the decoder of an encoder, which reads outputs of those before it: its
    inputs of the same names, or IN=OUT; all are pruned as one, and written beside the output as FILE.pruned.onnx;
    repeatable."""
    keep_functions: bool
    """Keep calls of the model's local functions where the cut changes nothing in them; the others are inlined, and
    named."""
    criterion: (
        Literal["l1", "l2", "consumers", "dependency", "product", "fpgm", "lamp", "taylor", "fisher", "hessian",
        "snip", "grasp", "synflow", "activation", "wanda", "pfp", "chip", "random"] | str
    )
    """What makes a channel important; the least important are removed first: l1, l2, consumers, dependency, product,
    fpgm, lamp, taylor, fisher, hessian, snip, grasp, synflow, activation, wanda, pfp, chip, random. Default:
    consumers, or activation with data."""
    scope: Literal["auto", "loss", "local", "global", "sensitivity"]
    """Where channels go: loss, where outputs lose least, as measured on samples; local, the same share from every
    group; global, the lowest scores of the whole model; sensitivity, as the report of --sensitivity says; auto,
    that where it is given, loss where there are samples, else local."""
    aggregate: Literal["mean", "sum", "max"]
    """How the scores of all weights that a channel touches become one score."""
    normalise: Literal["mean", "max", "none"]
    """What the scores of a group are divided by before groups are compared."""
    sensitivity: str | PathLike[str] | None
    """Report of onnx-compress sensitivity on this model: how much each group loses follows from what that was
    measured to cost, which one in a group from the criterion."""
    include: Sequence[str] | str
    """Prune only groups that match GLOB by their name, a node or a weight; repeatable."""
    exclude: Sequence[str] | str
    """Leave alone groups that match GLOB by their name, a node or a weight; repeatable."""
    attention: Literal["heads", "dims"]
    """In attention, remove whole heads, or as many dimensions from every head."""
    cache_heads: bool
    """Let heads of a key/value cache go too: its inputs and outputs are declared anew, with fewer."""
    free_outputs: Sequence[str] | str
    """Let this output lose channels, so that it is declared anew with fewer of them; repeatable."""
    depth: bool
    """Let residual blocks go as a whole, too: they are one more group, called depth, which loses its share as well."""
    keep_tokens: str | PathLike[str] | None
    """Keep only the tokens whose numbers FILE lists; they are numbered anew, and a file beside the result says how."""
    keep_norm_axes: bool
    """Keep all channels that a LayerNorm or a mean runs over, so that no statistic changes."""
    structure: (
        Literal["channels", "lowrank", "both", "groups", "graph", "supports", "nm", "interspace",
        "interspace-columns"] | str
    )
    """What goes: channels, lowrank, both, groups, graph, supports, nm, interspace, interspace-columns. channels:
    whole channels; lowrank: a layer becomes two thinner ones; both: of channels and ranks what outputs lose least
    by; the others are masks over single weights of convolutions, or over the coefficients of their kernels in a
    basis (docs/structures.md)."""
    lower: Literal["auto", "always", "never"]
    """Write masked convolutions as smaller ones: where that was measured to be faster on --provider, wherever it can
    be done, or nowhere, so that zeros stay."""
    basis: Literal["pca", "identity"]
    """Of --structure interspace: the basis that the kernels of a layer start from: their principal components, or
    single taps, by which coefficients are the weights."""
    coefficients: Literal["float16", "float32"]
    """Of --structure interspace: what coefficients are stored in; float32 where float16 is too rough."""
    batch: int
    """Samples in one run that is timed, where the model leaves that open."""
    threads: int
    """Threads inside an operator; 0 leaves it to ONNX Runtime, which takes all cores."""
    latency_cache: str | PathLike[str] | None
    """Folder that keeps measured operator times for later runs. Default: in the user's cache folder."""
    target_macs: float | str | None
    """Share of the multiply-accumulates (MACs) to keep, such as 0.5 or 50%."""
    target_params: float | str | None
    """Share of the parameters to keep."""
    target_size: float | int | str | None
    """File size to keep: a share such as 50%, or bytes such as 500kB or 1.5MB."""
    target_latency: str | None
    """Time of a run on --provider, such as 2.5ms or 0.6x of the original's; met within 3%."""
    lossless: bool
    """Remove only channels that are zero already, so that no output changes; takes no ratio or target."""
    ratio: float | str | None
    """Share of the channels to remove in each group; about (1-R)^2 of the parameters and MACs stay, (1-R)^3 with
    --depth. Default: 0.5, unless a target is given."""
    objective: Literal["macs", "latency"]
    """What --ratio and --target-macs spend: multiply-accumulates, or as large a share of the time of a run on
    --provider, measured, so that channels go where time is."""
    layer_ratio: Sequence[tuple[str, float] | str] | str
    """Ratio of groups that match GLOB by their name, a node or a weight; repeatable, the first match counts."""
    max_ratio: float | str
    """Largest share of its channels that one group may lose."""
    round_to: int
    """Leave a multiple of N channels, as prune does; 1 measures every ratio as asked."""
    min_channels: int
    """Fewest channels that a group keeps."""
    steps: int
    """Prune in N steps, scoring and recovering anew in each."""
    schedule: Literal["linear", "cubic", "exponential"]
    """How fast the steps go: evenly, most at first, or by the same factor in each."""
    ratios: Sequence[float] | str
    """Shares of its channels that each group loses, one after the other, while the rest of the model stays whole.
    Default: 0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9."""
    jobs: int
    """Measurements at a time, one thread each; 0 for one a core."""
    cluster: str | None
    """Measure on the workers of this Dask scheduler instead (extra cluster)."""

class TuneKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.sparsity.SparsifySettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to judge on, given like --data; by default a share of the data is set aside."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to calibrate on."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    device: str
    """Where training runs: auto, cpu, cuda or cuda:N."""
    amp: Literal["auto", "off", "bf16"]
    """Mixed precision: auto uses it on CUDA, bf16 on the CPU too."""
    compile: bool
    """Compile the module with torch.compile first."""
    checkpoint: str | PathLike[str] | None
    """Folder of the checkpoint. Default: beside the output, removed when the run ends well."""
    keep_checkpoint: bool
    """Leave the checkpoint when the run ends well."""
    resume: bool
    """Continue from the checkpoint."""
    metrics: str | PathLike[str] | None
    """Write one line of JSON for every epoch and report of progress."""
    epochs: int
    """Passes over the training samples."""
    optimiser: Literal["sgd", "adamw"]
    """SGD with Nesterov momentum, or AdamW. Default: sgd for convolutional networks, adamw for others."""
    learning_rate: float
    """Highest learning rate. Default: 0.01 for sgd, 0.0003 for adamw, 0.05 for sgd with BatchNormalization put in."""
    momentum: float
    """Momentum of SGD."""
    weight_decay: float
    """Weight decay of matrices and kernels; biases and norms have none."""
    warmup: float
    """Share of all steps in which the learning rate rises from zero."""
    final_rate: float
    """Share of the learning rate that is left at the end of the cosine."""
    clip_norm: float
    """Largest norm of the gradient of all parameters together; 0 turns clipping off."""
    ema: float
    """Decay of a running mean of the weights, which is kept instead of the last."""
    patience: int
    """Stop after N epochs without a better one; 0 never does."""
    train_bn: bool
    """Let BatchNormalization use and update the statistics of the batch."""
    insert_bn: bool
    """Put BatchNormalization, which exporters fold away, behind every layer while training lasts. Default: where SGD
    trains, and batches can be of any size."""
    expand: float
    """Train kernels as products of N times as many channels, merged at the end; 0 does not."""
    mean_weights: float
    """Keep the mean of the weights over this last share of all steps; 0 does not."""
    sweep: bool
    """Try several learning rates for an epoch each, and train with the best."""
    loss: str
    """What is minimised: distill, the distance to the original model, which needs no labels; cross-entropy with
    labels; mixed, both; or package.module:callable."""
    temperature: float
    """Temperature at which class scores are compared with the original's."""
    teacher_ensemble: int
    """Imitate the mean of N networks drawn around the original's weights, which train on labels for one more epoch
    first; 0 imitates the original."""
    alpha: float
    """Share of distillation in the mixed loss."""
    features: Sequence[str] | str
    """Intermediate value, by its name in the graph, to be matched too; repeatable."""
    feature_weight: float
    """Weight of matched intermediate values in the loss."""
    output_form: Mapping[str, str] | str
    """How an output is compared: NAME=kl (class scores on axis 1), NAME=kl:AXIS, NAME=mse or NAME=none; repeatable.
    Decided from its values where not given."""
    regularizer: (
        Literal["dependency", "dependency-l2", "group", "feature-flow", "feature-flow-angle", "iss", "envelope",
        "admm", "decay", "tpp"] | str | None
    )
    """Make channels small, so that a later cut costs less. How: dependency, dependency-l2, group, feature-flow,
    feature-flow-angle, iss, envelope, admm, decay, tpp."""
    regularizer_strength: float | None
    """Strength of the method, in its own unit (docs/sparsity-training.md). Default: its own."""
    sparsity: float | str
    """Share of the channels of every group that the cut will take."""

class UnifyKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.choosing.ChoosingSettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs the proof: cpu, cuda, tensorrt or a provider's full name; never replaced by another
    one."""
    rtol: float
    """Error that the proof allows, as a share of the largest value of an output."""
    atol: float
    """Error that the proof allows on top of that, absolute."""
    seed: int
    """Seed of everything random: the proof's inputs, the random criterion."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to judge on, given like --data; by default a share of the data is set aside."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to calibrate and to choose on."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    device: str
    """Where training runs: auto, cpu, cuda or cuda:N."""
    amp: Literal["auto", "off", "bf16"]
    """Mixed precision: auto uses it on CUDA, bf16 on the CPU too."""
    compile: bool
    """Compile the module with torch.compile first."""
    checkpoint: str | PathLike[str] | None
    """Folder of the checkpoint. Default: beside the output, removed when the run ends well."""
    keep_checkpoint: bool
    """Leave the checkpoint when the run ends well."""
    resume: bool
    """Continue from the checkpoint."""
    metrics: str | PathLike[str] | None
    """Write one line of JSON for every epoch and report of progress."""
    epochs: int
    """Passes over the training samples."""
    optimiser: Literal["sgd", "adamw"]
    """SGD with Nesterov momentum, or AdamW. Default: sgd for convolutional networks, adamw for others."""
    learning_rate: float
    """Highest learning rate. Default: 0.1 for sgd, 0.0003 for adamw; where no BatchNormalization is put in, 0.01 for
    sgd."""
    momentum: float
    """Momentum of SGD."""
    weight_decay: float
    """Weight decay of matrices and kernels; biases and norms have none."""
    warmup: float
    """Share of all steps in which the learning rate rises from zero."""
    final_rate: float
    """Share of the learning rate that is left at the end of the cosine."""
    clip_norm: float
    """Largest norm of the gradient of all parameters together; 0 turns clipping off."""
    ema: float
    """Decay of a running mean of the weights, which is kept instead of the last."""
    patience: int
    """Stop after N epochs without a better one; 0 never does."""
    train_bn: bool
    """Let BatchNormalization use and update the statistics of the batch."""
    insert_bn: bool
    """Put BatchNormalization, which exporters fold away, behind every layer while training lasts, where there can be
    one."""
    expand: float
    """Train kernels as products of N times as many channels, merged at the end; 0 does not."""
    mean_weights: float
    """Keep the mean of the weights over this last share of all steps; 0 does not."""
    sweep: bool
    """Try several learning rates for an epoch each, and train with the best."""
    loss: str
    """What is minimised: distill, the distance to the original model, which needs no labels; cross-entropy with
    labels; mixed, both; or package.module:callable."""
    temperature: float
    """Temperature at which class scores are compared with the original's."""
    teacher_ensemble: int
    """Imitate the mean of N networks drawn around the original's weights, which train on labels for one more epoch
    first; 0 imitates the original."""
    alpha: float
    """Share of distillation in the mixed loss."""
    features: Sequence[str] | str
    """Intermediate value, by its name in the graph, to be matched too; repeatable."""
    feature_weight: float
    """Weight of matched intermediate values in the loss."""
    output_form: Mapping[str, str] | str
    """How an output is compared: NAME=kl (class scores on axis 1), NAME=kl:AXIS, NAME=mse or NAME=none; repeatable.
    Decided from its values where not given."""
    method: Literal["one-shot", "retrain", "admm", "iss", "envelope", "ste"] | str
    """How weights get there: one-shot, to the nearest, without training; retrain, one-shot and then training of what
    is left; admm, iss (iterative soft shrinkage), envelope or ste (straight through the projection), training
    towards it before that. Default: admm with --data, one-shot without."""
    teacher: str | PathLike[str] | None
    """The model that IN was made from, such as by pruning, whose outputs are imitated. Default: IN."""
    retrain_share: float
    """Share of the epochs that come after the weights are unified, and train one value a block."""
    retrain_rate: float
    """Highest learning rate of these epochs. Default: --learning-rate."""
    admm_share: float | str
    """Share of the steps towards the set that --method admm takes by ADMM; the others go straight through the
    projection. 1: ADMM alone."""
    refreshes: int
    """How often ADMM projects the weights and updates its multipliers."""
    rho: float
    """Strength of ADMM's pull at first: alone it would leave exp(-X) of the gap from one refresh to the next."""
    rho_growth: float
    """What that is multiplied by at every refresh."""
    dual_step: float
    """Share of the gap that a refresh adds to the multipliers; 1 is textbook ADMM, less turns fewer signs."""
    magnitudes: Literal["float16", "float32"]
    """How the shared absolute values are stored."""
    dense: bool
    """Write the unified weights as plain tensors instead of packing them."""
    latency: bool
    """Also time the original and the written model in turns, on --provider."""
    include: Sequence[str] | str
    """Unify only weights that match GLOB, by their name or their node's; repeatable."""
    exclude: Sequence[str] | str
    """Leave alone every weight that matches GLOB; repeatable."""
    all_layers: bool
    """Unify the first and the last layer too."""
    min_weights: int
    """Leave alone weights with fewer elements than this."""
    block: str
    """Shape of the blocks whose weights share one absolute value: 4x4, 1x8, 4x4x9 (outputs x inputs x taps, * for
    all), matrix:1x16, tap, kernel or filter; or values:16 and values:16/output for a codebook."""
    codebook: int | None
    """Instead of blocks of one absolute value: all weights of a tensor take so many values, stored as a table and a
    code a weight. The same as --block values:K."""
    codebook_per: Literal["tensor", "output"]
    """With --codebook: one table for a weight, or one for each of its outputs."""
    layer_block: Sequence[tuple[str, str] | str] | str
    """Block of the weights that match GLOB, by their name or their node's, whatever the defaults leave alone;
    repeatable, the first match counts."""
    prune_share: float | str
    """Share of each layer's blocks that become zero."""
    unify_share: float | str
    """Share of each layer's blocks that get one absolute value, those that it damages least; the rest stays as it
    is. Default: all that are not pruned."""
    curvature: Literal["none", "inputs", "gradients"]
    """How much a change of each weight matters: all alike; or, measured on --samples samples, as the mean square of
    what it multiplies, or of its gradient."""
    permute: bool
    """Reorder channels first where that lowers the damage; exact, as all that depends on them moves along."""
    max_drop: float | str | None
    """Choose a block for each layer so that, before any training, no more accuracy is lost, such as 0.01 or 1%;
    needs data with labels."""
    max_distance: float | str | None
    """The same, so that outputs move by no more than this share of their norm, such as 0.05 or 5%; needs no labels,
    and without --data no samples."""
    target_size: float | int | str | None
    """Choose a block or a codebook for each layer so that the file has at most so many bytes, such as 200kB, or this
    share of the original, and outputs move as little as can be before any training."""
    ladder: Sequence[str] | str
    """Blocks and codebooks to choose from with --max-drop, --max-distance or --target-size. Default:
    8x8,4x8,4x4,1x8,1x4; for --target-size values:4/output,values:8/output,values:16/output too."""
    jobs: int
    """Measurements at a time, one thread each; 0 for one a core."""
    cluster: str | None
    """Measure on the workers of this Dask scheduler instead (extra cluster)."""

class VerifyKeywords(TypedDict, total=False):
    """Settings of :class:`compressor.config.verify.VerifySettings`."""

    verify: Literal["full", "quick", "off"] | str
    """What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what the prepared
    graph gives, the result what that gives with the removed channels masked, the written file what the result
    gives, and a wrong cut would have been noticed. quick: the result alone."""
    provider: str
    """Where ONNX Runtime runs A, and B too unless said otherwise: cpu, cuda, tensorrt or a full name."""
    rtol: float
    """Error allowed, as a share of the largest value of an output of A."""
    atol: float
    """Error allowed on top of that, absolute."""
    seed: int
    """Seed of the inputs that are made up, where no data is given."""
    input_shapes: Mapping[str, Sequence[int]] | str
    """Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable."""
    dims: Mapping[str, int] | str
    """Size to use for a symbolic dimension when counting and proving; repeatable. The written file keeps it
    symbolic."""
    simplify: bool
    """Fold constants and remove dead nodes before anything else."""
    external_data: bool | None
    """Write the weights to a data file beside the model, or to as many as they were read from; by default for models
    of 256 MB and more."""
    keep_metadata: bool
    """Keep what exporters write beside the graph: stack traces, names of modules, doc strings."""
    data: DataLike | None
    """Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one subfolder a class,
    or package.module:callable."""
    val_data: DataLike | None
    """Samples to judge on, given like --data; by default a share of the data is set aside."""
    val_share: float | None
    """Share of the samples that is set aside to judge on, taken from every class alike. Default: a tenth, or 64
    samples where that is less, but at most a quarter."""
    labels: str | None
    """Name of the array that holds the labels. Default: y or labels."""
    eval: str | Callable[[Any], float] | None
    """What a model is judged by: top-1, top-5, miou, map, map50, perplexity, cosine, rmse; or
    package.module:function, which is called with the model and gives a number. Default: top-1, where labels are
    classes."""
    samples: int
    """Samples to calibrate on."""
    batch_size: int
    """Samples in a batch."""
    mean: Sequence[float] | str
    """Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; 8-bit pixels are divided by
    255 first."""
    std: Sequence[float] | str
    """What images are divided by after that, one number or one a channel."""
    input_range: Sequence[float] | str | None
    """Black and white in made-up images before --mean and --std, such as 0,255. Without any of the three, the range
    is read from the network's behaviour."""
    layout: Literal["auto", "nchw", "nhwc"]
    """Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's input tells."""
    augment: Sequence[Literal["flip", "crop"]] | str
    """Change training images at random: flip, left to right; crop, moved by up to --crop-padding; flip,crop for
    both."""
    crop_padding: int
    """Pixels by which a random crop may move an image in each direction."""
    bisect: bool | None
    """Name the first node that differs. Default: only where the outputs are not equal."""
    bisect_memory: int
    """Megabytes of intermediate values that one run of the search may expose."""
    trials: int
    """Seeded inputs for each set of shapes."""
    provider_b: str | None
    """Where ONNX Runtime runs B, such as cuda, to compare providers."""
