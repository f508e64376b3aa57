"""Secure sums: hospitals add vectors, everybody learns the sum, nobody a summand.

This folder is pure. It turns bytes into bytes: no clock, no socket, no disk, and nothing imported but the standard
library, numpy, `cryptography` and `synthfed.errors`. The caller carries the messages, stores the sealed state before it
sends a reply, and tells the time. It can be read in an afternoon, in the order below.

**The scheme.** Additive secret sharing between peers, in compressed form. Literally, each site splits its vector into N
random parts, gives one to each peer, adds up the parts it holds and uploads that sum. The upload depends only on the
differences between what two sites give each other, so each pair agrees on one key instead and expands it: the lower
roster index adds the keystream, the higher subtracts it, and in the sum of all uploads every pair cancels. A second,
own mask per site is taken off at the end with keys that any t sites can rebuild from Shamir shares. One upload has the
size of the plain vector (`shares.explain` shows the parts). Three other modes give the same integers: pair masks
alone, the literal parts, and Shamir parts.

**What is promised, and to whom** (N sites, threshold t, m = max(t, 3), c of the sites collude):

- Against a curious relay that sees all traffic and the sum: nothing about a summand beyond the sum.
- Against a relay that drops, delays, replays, swaps keys or shows different sites different things: it gets at most one
  sum per attempt, over at least m sites, and a false sum is seen by every site before the model changes.
- Against such a relay with c sites in its pay: still one sum over at least m - c honest inputs, if 2t > N + c.
- Against c sites alone: only the sum of the others, if c <= N - 2.
- Against a site that deals or returns wrong key shares, or sends anything else that is malformed: it is named, with
  proof, and the others go on without it where policies allow.
- Against the thief of a disk: sealed state tells nothing without the site's key, and the secrets of finished attempts
  are erased from it.

**What is not promised.** Delivery: any party can stop a round. Who took part, when and with how long a vector is not
hidden. The sum itself is not protected, nor what two sums over different sets reveal together: only differential
privacy answers that. Inputs may be lies. With N = 3, any two sites that pool what they know have the third one's
vector. If one site helps the relay, the result tag proves nothing (`evidence` is the costly answer). A steward who
enrols puppets defeats every count above. There is no formal proof of this composition; its skeleton is Bonawitz et al.,
CCS 2017. By default all sites must answer; policies may allow sums that miss up to floor((N-1)/3) of them, and sums
over different sets reveal differences.

**The files, in reading order.**

1. `refusals`: every way to say no, one class each.
2. `ring`: real numbers as integers modulo 2**32; why the sum cannot wrap.
3. `contexts`: canonical bytes, and the two hashes that say what a sum is about.
4. `roster`: who may take part, signed by the steward.
5. `shamir`: t-of-n sharing of 32-byte keys.
6. `masks`: X25519, HKDF, AES-256-CTR keystreams, sealed boxes; the two key pairs of a site. `hybrid`: ML-KEM-768 beside
   X25519, against recording now and decrypting later.
7. `tag`: how sites check a sum they cannot recompute.
8. `signatures`, `envelopes`: who says what to whom, and the proof of it. `messages` (with `fields`): the bodies.
9. `protocol`: the order of the steps and the rules. `release`: the rule that keeps summands secret, with its reason.
10. A site, in the order of an attempt: `site_attempt` (with `admission`, `state`), `site_hiding` (with `dealing`,
    `boxes`, `hiding`), `complaints`, `site_session`.
11. The relay: `relay_attempt` (whom to blame), `relay_session` (with `opening`). `evidence`: for sites that add up the
    sum themselves.
12. `parts`, `parts_session`: the literal scheme and vector Shamir sharing, as modes of their own.
13. `questions`, `analytics`, `uncertainty`: counts, moments, quantiles and tables over all sites, exact or with noise,
    by sums modulo 2**64.
14. `sealed`: state on disk. `audit`: the signed log. `shares`: the literal scheme, told step by step.
"""
