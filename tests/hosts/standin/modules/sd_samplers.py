"""Samplers; an unknown name becomes the first one without a word."""

from collections import namedtuple

from modules import sd_schedulers

SamplerData = namedtuple("SamplerData", "name constructor aliases options")
all_samplers = [
    SamplerData("DPM++ 2M", None, ["k_dpmpp_2m"], {"scheduler": "karras"}),
    SamplerData("Euler a", None, ["k_euler_a", "k_euler_ancestral"], {}),
    SamplerData("Euler", None, ["k_euler"], {}),
    SamplerData("DDIM", None, ["ddim"], {}),
]
all_samplers_map = {sampler.name: sampler for sampler in all_samplers}
samplers = []
samplers_map = {}


def set_samplers():
    samplers[:] = all_samplers
    samplers_map.clear()
    for sampler in all_samplers:
        for name in (sampler.name, *sampler.aliases):
            samplers_map[name.lower()] = sampler.name


def visible_sampler_names():
    return [sampler.name for sampler in samplers]


def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True):
    scheduler = sd_schedulers.schedulers_map.get(scheduler_name, sd_schedulers.schedulers[0])
    name = sampler_name or samplers[0].name
    for known in sd_schedulers.schedulers:
        for end in (known.label, known.name, *(known.aliases or ())):
            if name.endswith(f" {end}"):
                name, scheduler = name[: -len(end) - 1], known
                break
    sampler = all_samplers_map.get(name, samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == scheduler.name:
        scheduler = sd_schedulers.schedulers[0]
    return sampler.name, scheduler.label


set_samplers()
