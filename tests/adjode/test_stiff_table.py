"""Stiff problems with default arguments: the discrete gradient is right, in seconds."""

import json
import time

import autograd.numpy as anp
import numpy as np
import pytest
from stiff_problems import PROBLEMS, REFERENCES

import adjode

SECONDS = 10.0  # of process time, on a busy machine; one takes some tenths of a second


def gradient_of(name, rtol, ts=None, **options):
    f, z0, t1, theta = PROBLEMS[name]
    problem = adjode.InitialValueProblem(f, z0, 0.0, t1, theta)
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * anp.sum(z**2))
    if ts is not None:
        seen = adjode.Observations(ts, lambda i, z: 0.5 * anp.sum(z**2), lambda i, z: z)
        loss = adjode.Loss(observations=seen)
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100, **options)
    parts = np.concatenate([found.z0, np.ravel(found.theta)])
    return parts, np.maximum(np.abs(np.concatenate([z0, np.ravel(theta)])), 1.0)


def off(found, wanted, scale, rtol, size):
    allowed = 100 * rtol * np.linalg.norm(scale * wanted) + rtol * size
    return np.linalg.norm(scale * (found - wanted)) / allowed


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_final_loss(name, rtol):
    wanted, start = np.array(json.loads(REFERENCES.read_text())[name]), time.process_time()
    found, scale = gradient_of(name, rtol)
    assert time.process_time() - start < SECONDS
    assert off(found, wanted, scale, rtol, 1.0) < 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_hundred_observations(name):
    # no closed form and no sensitivities at so many times: two tolerances, two sets of steps
    ts = np.linspace(0.0, PROBLEMS[name][2], 101)[1:]
    (found, scale), (wanted, _) = (gradient_of(name, rtol, ts) for rtol in (1e-3, 1e-6))
    assert off(found, wanted, scale, 1e-3, 1.0) < 1
