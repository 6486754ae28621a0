"""Two regression tasks as related as one wants, the synthetic data of the paper on MMoE.

Section 3.3 of Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts*, KDD 2018: two orthogonal unit vectors u1 and u2 of 100 dimensions are drawn,

  w1 = c u1,   w2 = c (p u1 + sqrt(1 - p^2) u2),   x ~ N(0, I),
  y_k = w_k . x + sum_i sin(alpha_i w_k . x + beta_i) + e_k,   e_k ~ N(0, 0.01),

so that p is the cosine of the two weight vectors: the tasks are one at p = 1, but for the noise.
The paper gives neither c nor the sinusoids. Here c = 1 and there are four of them, whose alpha_i
and beta_i are drawn from N(0, 1) with the weight vectors.

Tasks:
  first, second   real values, of whose variance noise is 0.01

Input: `features` (100,).

Splits: 51 200 training rows, 10 240 each to validate and to test, or as many as one asks for.

Options of `load`: correlation=0.5, rows=51200, held_out_rows=10240, batch_size=256, seed=0,
data_seed=0, preprocessed=True. Nothing is read and nothing is kept: there is nothing to prepare.
"""

from mtlzoo.data.synthetic_relatedness.generating import generate, load, prepare

__all__ = ["generate", "load", "prepare"]
