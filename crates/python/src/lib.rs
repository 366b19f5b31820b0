//! The Python module `kinora`: a ladder that a Python program feeds picture by picture.
//!
//! A picture is anything with a buffer, arrays of NumPy above all. Its bytes are copied while Python's
//! lock is held, and waited for without it. What is wrong with an argument is a `ValueError`, what
//! ends the run a `RuntimeError`, and what a callback raised is raised again by the next call.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ladder::publish::Update;
use ladder::{Config, Container, DirSink, Error, Options, PictureRef, Rational, RawFormat, Report};
use pyo3::buffer::{Element, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What a callback raised, for the next call.
type Raised = Arc<Mutex<Option<PyErr>>>;

/// An adaptive HLS stream on its way into a folder, made of the pictures that it is given.
#[pyclass(module = "kinora")]
struct Ladder {
    running: Option<ladder::Ladder>,
    report: Option<Report>,
    format: RawFormat,
    raised: Raised,
    /// The bytes of the picture that is being given.
    samples: Vec<u8>,
}

#[pymethods]
impl Ladder {
    /// Starts a stream; nothing is made before the first picture.
    #[new]
    #[pyo3(signature = (folder, width, height, fps=None, *, format="rgb24", container="ts",
        segment=4.0, preset="veryfast", encoder=None, workers=None, audio=None, timed=false,
        window=None, part=None, on_segment=None, on_progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        folder: PathBuf,
        width: u32,
        height: u32,
        fps: Option<&Bound<'_, PyAny>>,
        format: &str,
        container: &str,
        segment: f64,
        preset: &str,
        encoder: Option<String>,
        workers: Option<usize>,
        audio: Option<PathBuf>,
        timed: bool,
        window: Option<f64>,
        part: Option<f64>,
        on_segment: Option<Py<PyAny>>,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Ladder> {
        let rate = fps.map_or(Ok(Rational::new(25, 1)), rate)?;
        let format = RawFormat::new(format, width, height, rate).map_err(raise)?;
        let container = match container {
            "ts" => Container::Ts,
            "cmaf" => Container::Cmaf,
            other => {
                let text = format!("no container {other:?}: ts or cmaf");
                return Err(PyValueError::new_err(text));
            }
        };
        let options = Options {
            segment_s: segment,
            container,
            preset: preset.to_string(),
            encoder,
            workers,
            live_window: window,
            part_s: part,
            ..Options::default()
        };
        let config = Config {
            format,
            timed,
            audio,
            options,
        };
        let raised = Raised::default();
        let mut sink = DirSink::new(folder);
        if let Some(callback) = on_segment {
            let raised = Arc::clone(&raised);
            sink = sink.on_update(move |update| tell_segment(&callback, update, &raised));
        }
        if let Some(callback) = on_progress {
            let raised = Arc::clone(&raised);
            sink = sink.on_progress(move |progress| {
                let (made_s, speed) = (progress.media_s, progress.speed);
                note(&raised, || {
                    Python::attach(|py| callback.call1(py, (made_s, speed)).map(drop))
                });
            });
        }
        Ok(Ladder {
            running: Some(ladder::Ladder::new(config, sink).map_err(raise)?),
            report: None,
            format,
            raised,
            samples: Vec::new(),
        })
    }

    /// Gives the next picture and waits while the encoders have enough to do. False when the stream
    /// has ended with its sound and takes no more.
    #[pyo3(signature = (frame, pts=None))]
    fn write_frame(
        &mut self,
        py: Python<'_>,
        frame: &Bound<'_, PyAny>,
        pts: Option<f64>,
    ) -> PyResult<bool> {
        self.raised()?;
        let planes = self.format.planes();
        let (width, height) = self.format.size();
        self.samples.clear();
        take(frame, &planes, &mut self.samples)?;
        let Some(running) = &mut self.running else {
            return match self.report {
                Some(_) => Err(PyRuntimeError::new_err("the stream is finished")),
                None => Err(PyRuntimeError::new_err("the stream was cancelled")),
            };
        };
        let mut rest = self.samples.as_slice();
        let mut slices = Vec::new();
        for (row, rows) in &planes {
            let (plane, after) = rest.split_at(row * rows);
            slices.push(plane);
            rest = after;
        }
        let strides: Vec<usize> = planes.iter().map(|(row, _)| *row).collect();
        let picture = PictureRef {
            format: self.format.name(),
            width,
            height,
            planes: &slices,
            strides: &strides,
            pts_s: pts,
        };
        let taken = py.detach(|| running.write_frame(&picture));
        self.raised()?;
        taken.map_err(raise)
    }

    /// Says that all pictures were given, waits for the rest of the stream and gives the report.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(running) = self.running.take() {
            let outcome = py.detach(|| running.finish());
            self.raised()?;
            self.report = Some(outcome.map_err(raise)?);
        }
        self.report(py)
    }

    /// Breaks the stream off; what was written stays.
    fn cancel(&mut self, py: Python<'_>) {
        let running = self.running.take();
        // The run may be calling back, for which it needs Python's lock.
        py.detach(|| drop(running));
    }

    /// What was made, once the stream is finished: a dictionary.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Some(report) = &self.report else {
            return Err(PyRuntimeError::new_err("the stream is not finished"));
        };
        let renditions = PyDict::new(py);
        for made in &report.renditions {
            let one = PyDict::new(py);
            one.set_item("segments", made.segments)?;
            one.set_item("bytes", made.bytes)?;
            renditions.set_item(&made.name, one)?;
        }
        let whole = PyDict::new(py);
        whole.set_item("duration_s", report.duration_s)?;
        whole.set_item("encoder", &report.encoder)?;
        whole.set_item("renditions", renditions)?;
        whole.set_item("warnings", &report.warnings)?;
        Ok(whole)
    }

    /// Pictures taken so far.
    #[getter]
    fn frames(&self) -> u64 {
        self.running.as_ref().map_or(0, ladder::Ladder::frames)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &mut self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        if kind.is_none() {
            self.finish(py)?;
        } else {
            self.cancel(py);
        }
        Ok(false)
    }
}

impl Ladder {
    /// What a callback raised meanwhile.
    fn raised(&self) -> PyResult<()> {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.take().map_or(Ok(()), Err)
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        let running = self.running.take();
        // As in `cancel`.
        Python::attach(|py| py.detach(|| drop(running)));
    }
}

/// Appends the bytes of a picture, plane by plane: one buffer with all planes, or one for each.
fn take(frame: &Bound<'_, PyAny>, planes: &[(usize, usize)], out: &mut Vec<u8>) -> PyResult<()> {
    if append::<u8>(frame, planes, out)? || append::<u16>(frame, planes, out)? {
        return Ok(());
    }
    // A buffer of anything else would go for a sequence of its rows.
    let other = PyUntypedBuffer::get(frame).is_ok();
    let parts = frame.extract::<Vec<Bound<'_, PyAny>>>().ok();
    let Some(parts) = parts.filter(|_| !other) else {
        let kind = frame.get_type().name()?;
        let text = format!("a frame is an array of uint8 or uint16, or a sequence of them: {kind}");
        return Err(PyTypeError::new_err(text));
    };
    if parts.len() != planes.len() {
        let text = format!("{} planes where there are {}", parts.len(), planes.len());
        return Err(PyValueError::new_err(text));
    }
    for (part, plane) in parts.iter().zip(planes) {
        let one = [*plane];
        if !append::<u8>(part, &one, out)? && !append::<u16>(part, &one, out)? {
            let kind = part.get_type().name()?;
            let text = format!("a plane is an array of uint8 or uint16: {kind}");
            return Err(PyTypeError::new_err(text));
        }
    }
    Ok(())
}

/// A sample, in the byte order of the streams.
trait Sample: Element + Default {
    fn append(samples: &[Self], out: &mut Vec<u8>);
}

impl Sample for u8 {
    fn append(samples: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(samples);
    }
}

impl Sample for u16 {
    fn append(samples: &[u16], out: &mut Vec<u8>) {
        out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    }
}

/// Appends a buffer of such samples that holds these planes. False when it is no such buffer.
fn append<T: Sample>(
    frame: &Bound<'_, PyAny>,
    planes: &[(usize, usize)],
    out: &mut Vec<u8>,
) -> PyResult<bool> {
    let Ok(buffer) = PyBuffer::<T>::get(frame) else {
        return Ok(false);
    };
    let shape = buffer.shape();
    let (row, rows) = planes[0];
    let bytes: usize = planes.iter().map(|(row, rows)| row * rows).sum();
    // One row after another: as many rows as there are, or, of all planes, rows like the first's.
    let upright = match (shape, planes.len()) {
        ([_], _) => true,
        ([first, ..], 1) => *first == rows,
        ([first, ..], _) => first * row == bytes,
        ([], _) => false,
    };
    if buffer.len_bytes() != bytes || !upright {
        let wanted: Vec<String> = planes
            .iter()
            .map(|(row, rows)| format!("{rows}x{row}"))
            .collect();
        let (kind, wanted) = (8 * size_of::<T>(), wanted.join(", "));
        let text = format!(
            "a frame of shape {shape:?} and {kind} bit where rows and bytes in a row are {wanted}"
        );
        return Err(PyValueError::new_err(text));
    }
    let mut samples = vec![T::default(); buffer.item_count()];
    buffer.copy_to_slice(frame.py(), &mut samples)?;
    T::append(&samples, out);
    Ok(true)
}

/// Pictures per second: a number, a fraction, or a pair.
fn rate(fps: &Bound<'_, PyAny>) -> PyResult<Rational> {
    let pair = fps.extract::<(i32, i32)>().or_else(|_| {
        let parts = (fps.getattr("numerator")?, fps.getattr("denominator")?);
        Ok::<_, PyErr>((parts.0.extract()?, parts.1.extract()?))
    });
    if let Ok((num, den)) = pair {
        return Ok(Rational::new(num, den));
    }
    let rate: f64 = fps.extract()?;
    // 29.97 and 23.976 mean what television means by them.
    let television = (rate * 1001.0 / 1000.0).round();
    if (rate - television * 1000.0 / 1001.0).abs() < 0.005 && rate.fract() != 0.0 {
        return Ok(Rational::new(television as i32 * 1000, 1001));
    }
    Ok(Rational::new((rate * 1000.0).round() as i32, 1000))
}

fn tell_segment(callback: &Py<PyAny>, update: &Update, raised: &Raised) {
    let Update::Segment {
        rendition,
        index,
        uri,
        start_s,
        duration_s,
        bytes,
        ..
    } = update
    else {
        return;
    };
    note(raised, || {
        Python::attach(|py| {
            let segment = PyDict::new(py);
            segment.set_item("rendition", rendition)?;
            segment.set_item("index", index)?;
            segment.set_item("file", format!("{rendition}/{uri}"))?;
            segment.set_item("start_s", start_s)?;
            segment.set_item("duration_s", duration_s)?;
            segment.set_item("bytes", bytes)?;
            callback.call1(py, (segment,)).map(drop)
        })
    });
}

/// Keeps the first exception for the next call.
fn note(raised: &Raised, call: impl FnOnce() -> PyResult<()>) {
    if let Err(error) = call() {
        let mut raised = raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.get_or_insert(error);
    }
}

/// The one place where the ladder's errors become Python's.
fn raise(error: Error) -> PyErr {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(reason) = cause {
        text = format!("{text}: {reason}");
        cause = reason.source();
    }
    match error {
        Error::Format { .. } | Error::SegmentDuration { .. } | Error::PartDuration { .. } => {
            PyValueError::new_err(text)
        }
        // A time where there should be none, or the other way round.
        Error::Pictures { .. } => PyValueError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// An adaptive HLS stream out of the pictures that a program makes.
#[pymodule]
fn kinora(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Ladder>()
}
