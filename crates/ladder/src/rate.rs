//! Rate control over the whole stream: which quality (CRF) a segment is encoded at.
//!
//! Each unit has an encoder of its own, so an average rate asked of the encoder would be met in
//! every segment alone: easy ones would waste what hard ones lack, which costs more than 1 dB at the
//! same size. Instead libx264 encodes at constant quality under the rung's ceiling, and that quality
//! follows from what the rung's earlier segments cost: the one at which they would have met the
//! average. A segment looks back to those at least [`LAG`] before it, so that as many can be on
//! their way at once, and nothing but their sizes counts. The same file therefore gives the same
//! bytes whatever runs when, and after an interruption the sizes of what is there suffice.

/// How many segments of a rung may be on their way at once.
pub const LAG: usize = 3;

/// An encoder's scale of constant quality, on which less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Steps that halve the size. x264 is at about 6 for high rates and less for low ones.
    pub halving: f64,
    /// Above the best, a viewer sees nothing more.
    pub best: f64,
    /// Below the worst, the ceiling decides anyway.
    pub worst: f64,
    /// Finer differences cannot be seen or said, and coarser ones hide how libm rounds.
    pub step: f64,
}

/// Seconds within which a difference from the average weighs less than the wish to be steady.
const PATIENCE_S: f64 = 32.0;

impl Scale {
    /// A quality that many of x264's steps worse.
    pub fn steps(self, from: f64, steps: f64) -> f64 {
        let x264 = 5.0;
        let by = (steps * self.halving / x264 / self.step).round() * self.step;
        (from + by).clamp(self.best, self.worst)
    }
}

/// What the segments of one rung cost, and what the next may.
#[derive(Debug)]
pub struct Rate {
    /// Average to meet, in bits per second of segment files.
    aim: f64,
    /// CRF as long as nothing is known.
    first: f64,
    scale: Scale,
    /// Bits and seconds of each segment, once known.
    costs: Vec<Option<(f64, f64)>>,
    /// What is known of the segments from the first on without a gap.
    known: Known,
    /// CRF by segment, as far as it is determined.
    crf: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    segments: usize,
    bits: f64,
    seconds: f64,
    /// What they would have cost at CRF 0, by the model.
    at_zero: f64,
}

impl Rate {
    /// A rung whose segment files shall have `aim` bits per second on average.
    pub fn new(aim: f64, first: f64, scale: Scale) -> Rate {
        Rate {
            aim,
            first,
            scale,
            costs: Vec::new(),
            known: Known::default(),
            crf: Vec::new(),
        }
    }

    /// Notes the size of a segment's file, in bytes, and its duration in seconds.
    pub fn settle(&mut self, segment: usize, bytes: u64, seconds: f64) {
        if self.costs.len() <= segment {
            self.costs.resize(segment + 1, None);
        }
        self.costs[segment] = Some((bytes as f64 * 8.0, seconds));
    }

    /// The CRF of a segment, or `None` as long as one that it looks back to is not settled.
    pub fn crf(&mut self, segment: usize) -> Option<f64> {
        while self.crf.len() <= segment {
            let next = self.crf.len();
            let needs = (next + 1).saturating_sub(LAG);
            while self.known.segments < needs {
                let at = self.known.segments;
                let (bits, seconds) = (*self.costs.get(at)?)?;
                self.known.segments += 1;
                self.known.bits += bits;
                self.known.seconds += seconds;
                self.known.at_zero += bits * (self.crf[at] / self.scale.halving).exp2();
            }
            self.crf.push(self.next());
        }
        Some(self.crf[segment])
    }

    fn next(&self) -> f64 {
        let Known {
            bits,
            seconds,
            at_zero,
            ..
        } = self.known;
        let due = self.aim * seconds;
        if due <= 0.0 || bits <= 0.0 {
            return self.first;
        }
        let repaid = (bits - due) * seconds / (seconds + PATIENCE_S);
        let wanted = (due - repaid).clamp(due / 2.0, due * 1.5);
        let Scale {
            halving,
            best,
            worst,
            step,
        } = self.scale;
        let crf = halving * (at_zero / wanted).log2();
        let steps = (1.0 / step).round();
        (crf.clamp(best, worst) * steps).round() / steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X264: Scale = Scale {
        halving: 5.0,
        best: 14.0,
        worst: 38.0,
        step: 0.1,
    };

    /// Runs segments of 4 s whose size at CRF 23 is given, by the model that the rate assumes.
    fn simulate(sizes: &[u64], aim: f64) -> (Vec<f64>, f64) {
        let mut rate = Rate::new(aim, 21.0, X264);
        let mut crf = Vec::new();
        let mut bits = 0.0;
        for (segment, size) in sizes.iter().enumerate() {
            let chosen = rate.crf(segment).expect("everything before is settled");
            let bytes = *size as f64 * ((23.0 - chosen) / X264.halving).exp2();
            rate.settle(segment, bytes as u64, 4.0);
            bits += bytes * 8.0;
            crf.push(chosen);
        }
        (crf, bits / (sizes.len() as f64 * 4.0))
    }

    #[test]
    fn steady_content_meets_the_average_after_the_lag() {
        for size in [200_000, 500_000, 2_000_000] {
            let (crf, average) = simulate(&[size; 60], 1_000_000.0);
            assert_eq!(crf[..LAG], [21.0; LAG]);
            assert!(
                (average / 1e6 - 1.0).abs() < 0.1,
                "{size}: {average} {crf:?}"
            );
        }
    }

    #[test]
    fn hard_segments_get_more_than_easy_ones() {
        let sizes: Vec<u64> = (0..100)
            .map(|i| if i % 10 < 5 { 200_000 } else { 900_000 })
            .collect();
        let (crf, average) = simulate(&sizes, 1_000_000.0);
        let late = &crf[50..];
        let spread = late.iter().cloned().fold(f64::MIN, f64::max)
            - late.iter().cloned().fold(f64::MAX, f64::min);
        assert!(spread < 2.0, "quality is steady: {late:?}");
        assert!((average / 1e6 - 1.0).abs() < 0.1, "{average}");
    }

    #[test]
    fn quality_stays_within_its_bounds() {
        for size in [0, 1, 1_000, u64::MAX / 1024] {
            let (crf, _) = simulate(&[size; 20], 1_000_000.0);
            assert!(
                crf.iter().all(|crf| (X264.best..=X264.worst).contains(crf)),
                "{size}: {crf:?}"
            );
        }
    }

    #[test]
    fn only_sizes_count_not_when_they_become_known() {
        let mut early = Rate::new(1e6, 21.0, X264);
        let mut late = Rate::new(1e6, 21.0, X264);
        for segment in 0..20 {
            early.settle(segment, 400_000 + 10_000 * segment as u64, 4.0);
        }
        for segment in 0..20 {
            assert_eq!(late.crf(segment + LAG), None);
            late.settle(segment, 400_000 + 10_000 * segment as u64, 4.0);
            assert_eq!(
                late.crf(segment + LAG),
                early.crf(segment + LAG),
                "{segment}"
            );
        }
    }
}
