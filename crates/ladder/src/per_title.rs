//! A ladder fitted to its title: what the rungs need, by a trial, instead of what they usually get.
//!
//! A few samples of the source are encoded as units are, at the quality above which a viewer sees
//! nothing more. A rung that reaches it with fewer bits gets no more than those. And a rung is dropped
//! when the next bigger one of its codec costs hardly more than it: whoever can receive the one can
//! receive the other. Slides and cartoons end with two cheap rungs, sport with all it had.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::pipeline;
use crate::plan::{Prepared, stop_if};
use crate::sample::{TICKS, seconds};
use crate::source;
use crate::unit::{Closing, Recipe, Span, Unit};
use crate::{Options, Result, Rung, rungs};

/// Samples of a title, at equal distances, and how long each is.
const SAMPLES: u32 = 4;
const SAMPLE_S: f64 = 2.0;
/// Steps of CRF by which the trial is worse than the first segments: those are made to look good
/// whatever comes, this is what suffices.
const SUFFICES: f64 = 2.5;
/// What samples do not show: harder moments between them.
const MARGIN: f64 = 1.15;
/// A bigger rung that costs less than this times a smaller one makes that one useless.
const STEP: f64 = 1.4;
/// No rung goes below this share of what it would get.
const LEAST_SHARE: f64 = 0.1;

/// What a rung gets and what it needs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Need {
    /// Bits per second for sufficient quality.
    bits: f64,
    /// Whether it can be lowered and dropped: not what is copied or not steered by quality.
    fixed: bool,
}

/// Lowers and drops rungs of the plan and says so in it.
pub fn fit(prepared: &mut Prepared, options: &Options, cancel: &AtomicBool) -> Result<()> {
    let needs = trial(prepared, options, cancel)?;
    let (kept, decisions) = decide(&prepared.plan.rungs, &needs);
    prepared.plan.rungs = kept;
    prepared.plan.decisions = decisions;
    Ok(())
}

/// Encodes the samples in every rung.
fn trial(prepared: &Prepared, options: &Options, cancel: &AtomicBool) -> Result<Vec<Need>> {
    let encoders = pipeline::encoders(&prepared.plan.rungs, options, |_| true)?;
    let recipes = pipeline::recipes(prepared, options, &encoders);
    let duration_s = prepared.plan.duration_s.unwrap_or_default();
    let samples = ((duration_s / (2.0 * SAMPLE_S)) as u32).clamp(1, SAMPLES);
    let pictures = (SAMPLE_S * TICKS as f64) as i64 / prepared.nominal.max(1);
    let mut bits = vec![0.0; recipes.len()];
    let mut length_s = 0.0;
    for sample in 0..samples {
        stop_if(cancel)?;
        let at_s = duration_s * (f64::from(sample) + 0.5) / f64::from(samples);
        let span = Arc::new(Span {
            due: pictures * prepared.nominal,
            ..Span::default()
        });
        let mut units = Vec::new();
        for (at, recipe) in recipes.iter().enumerate() {
            let below = recipes.get(at + 1).map(|r| (r.rung.width, r.rung.height));
            let encodes = !recipe.rung.copied;
            let mut unit = Unit::new(Arc::clone(&span), Arc::clone(recipe), encodes, below)?;
            let scale = rungs::scale(&recipe.encoder);
            unit.set_quality(scale.map(|scale| {
                let first = recipe.rung.first_crf(&recipe.encoder);
                scale.steps(first, SUFFICES)
            }));
            units.push(unit);
        }
        let mut end = 0;
        source::sample(prepared, options, at_s, pictures, cancel, &mut |frame| {
            let mut frame = Some(frame.clone());
            for unit in &mut units {
                frame = match frame {
                    Some(frame) => unit.frame(&frame, end)?,
                    None => None,
                };
            }
            end += prepared.nominal;
            stop_if(cancel)
        })?;
        if end == 0 {
            continue;
        }
        length_s += seconds(end);
        let closing = Closing {
            end,
            sound: None,
            entered: None,
        };
        for (mut unit, bits) in units.into_iter().zip(&mut bits) {
            unit.flush(cancel)?;
            let finished = unit.finish(&closing)?;
            *bits += finished.map_or(0.0, |(f, _)| f.segment.bytes.len() as f64 * 8.0);
        }
    }
    let need = |(recipe, bits): (&Arc<Recipe>, &f64)| {
        let fixed =
            recipe.rung.copied || rungs::scale(&recipe.encoder).is_none() || length_s <= 0.0;
        Need {
            bits: match fixed {
                true => f64::from(recipe.rung.bit_rate),
                false => bits / length_s * MARGIN,
            },
            fixed,
        }
    };
    Ok(recipes.iter().zip(&bits).map(need).collect())
}

/// The rungs that stay, with their rates, and what was decided in words.
fn decide(rungs: &[Rung], needs: &[Need]) -> (Vec<Rung>, Vec<String>) {
    let mut kept: Vec<Rung> = Vec::new();
    let mut decisions = Vec::new();
    for (rung, need) in rungs.iter().zip(needs) {
        let usual = f64::from(rung.bit_rate);
        let mut rung = rung.clone();
        if !need.fixed && need.bits < usual {
            rung.lower(need.bits.max(usual * LEAST_SHARE).round() as u32);
        }
        let kilobits = |bits: f64| (bits / 1000.0).round();
        let (name, rate) = (&rung.name, kilobits(f64::from(rung.bit_rate)));
        let above = kept.iter().rfind(|above| above.codec == rung.codec);
        let near = above.filter(|above| {
            !need.fixed && f64::from(above.bit_rate) < STEP * f64::from(rung.bit_rate)
        });
        if let Some(above) = near {
            let (bigger, cost) = (&above.name, kilobits(f64::from(above.bit_rate)));
            decisions.push(format!(
                "{name} is dropped: it needs {rate} kbit/s, {bigger} only {cost}"
            ));
            continue;
        }
        decisions.push(if f64::from(rung.bit_rate) < usual {
            let usual = kilobits(usual);
            format!("{name} is lowered from {usual} to {rate} kbit/s: that suffices")
        } else {
            format!("{name} stays at {rate} kbit/s")
        });
        kept.push(rung);
    }
    (kept, decisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needs: &[(f64, bool)], expected: &[&str]) {
        let options = Options::default();
        let rungs = rungs::choose(1920, 1080, &options).unwrap();
        let needs: Vec<Need> = needs
            .iter()
            .map(|&(kilobits, fixed)| Need {
                bits: kilobits * 1000.0,
                fixed,
            })
            .collect();
        let (kept, decisions) = decide(&rungs, &needs);
        assert_eq!(decisions, expected);
        for rung in kept {
            assert_eq!(rung.max_rate / 2, rung.bit_rate / 4 * 3, "{rung:?}");
            assert_eq!(rung.buffer, rung.bit_rate * 2);
        }
    }

    #[test]
    fn decisions_by_need() {
        check(
            &[(9000.0, false), (4000.0, false), (1200.0, false)],
            &[
                "1080p stays at 5000 kbit/s",
                "720p stays at 2500 kbit/s",
                "360p stays at 800 kbit/s",
            ],
        );
        // Slides: hardly anything moves.
        check(
            &[(400.0, false), (320.0, false), (160.0, false)],
            &[
                "1080p is lowered from 5000 to 500 kbit/s: that suffices",
                "720p is lowered from 2500 to 320 kbit/s: that suffices",
                "360p is lowered from 800 to 160 kbit/s: that suffices",
            ],
        );
        check(
            &[(1200.0, false), (1000.0, false), (400.0, false)],
            &[
                "1080p is lowered from 5000 to 1200 kbit/s: that suffices",
                "720p is dropped: it needs 1000 kbit/s, 1080p only 1200",
                "360p is lowered from 800 to 400 kbit/s: that suffices",
            ],
        );
        // What is copied stays what it is.
        check(
            &[(5000.0, true), (4000.0, false), (100.0, false)],
            &[
                "1080p stays at 5000 kbit/s",
                "720p stays at 2500 kbit/s",
                "360p is lowered from 800 to 100 kbit/s: that suffices",
            ],
        );
    }
}
