//! What the VA driver tells a decoder, field by field against GStreamer's stateless elements.
//!
//! Each stream goes through FFmpeg with VA-API and through `v4l2sl*dec`, which knows all headers; what may
//! be different is a row with its reason. References are compared by which picture they name. Libva's
//! variables are set already.
//!
//! There are two witnesses. One is the daemon's place: the program answers every job without decoding
//! anything and notes the controls that came with it. The module must be there already, and no daemon
//! running (`kinora-load && kinora-va va_controls`). The other one is the trace of visl, another decoder,
//! by other people, that takes H.264 slice by slice of who asks for that, as GStreamer does there
//! (`modprobe visl && kinora-va va_controls --on visl`).

use bitstream::annexb::nal_units;
use bitstream::h264::{Pps, Sps, parse_slice_header};
use guest_tests::arguments::Arguments;
use guest_tests::chardev::{Control, Job, Session, advertisement};
use guest_tests::manifest::{self, Stream};
use guest_tests::tally::Tally;
use guest_tests::visl::{Told, Trace};
use guest_tests::{Result, report};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp8::*, vp9::*};
use v4l2::uapi::kinora::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_H264_SLICE;
use zerocopy::{FromBytes, FromZeros};

const OPTIONS: &[(&str, &str)] = &[
    ("each", "1000"),
    ("media", ""),
    ("on", "kinora"),
    ("only", ""),
];

/// The fields of a job, by `struct.field`.
type Fields = BTreeMap<String, String>;

/// Whether a job is a second field, among the fields of the job.
const CONTINUES: &str = "job.continues";

/// Whether a slice of a job has no reference counts of its own for a list, likewise. Where the slices are
/// not seen it is said of those whose counts are the default ones. It follows from the data, so it is not
/// compared.
const DEFAULTS: [&str; 2] = ["job.default_l0", "job.default_l1"];

/// Something that VA-API does not carry.
struct Allowed {
    field: &'static str,
    /// The bits of it that may differ.
    bits: u64,
    /// In which jobs of GStreamer's.
    when: fn(&Fields) -> bool,
    /// Why; for whoever reads this table.
    _reason: &'static str,
}

const fn allowed(field: &'static str, bits: u64, reason: &'static str) -> Allowed {
    Allowed {
        field,
        bits,
        when: |_| true,
        _reason: reason,
    }
}

impl Allowed {
    const fn when(mut self, when: fn(&Fields) -> bool) -> Self {
        self.when = when;
        self
    }
}

const ALL: u64 = u64::MAX;

/// libavcodec counts the order of pictures from 65536 on, and only what they differ by means anything.
const ORDER: i32 = 0xffff;

/// Streams of which the two are not given the same pictures, and why.
const NOT_COMPARED: [(&str, &str); 7] = [
    (
        "conformance/vp8/vp80-03-segmentation-1425.ivf",
        "libavcodec asks for surfaces once, and comes with them when the pictures are larger",
    ),
    (
        "ingest/nasa_13013.mp4",
        "its edit list: the demuxers begin at other pictures",
    ),
    (
        "ingest/400x300-red-resize-200x150-green.mp4",
        "GStreamer's demuxer leaves the last picture out",
    ),
    (
        "ingest/sample_empty_track.mp4",
        "GStreamer's demuxer leaves the last picture out",
    ),
    (
        "ingest/test-boxes-video.mp4",
        "GStreamer's demuxer leaves the last picture out",
    ),
    (
        "ingest/sample_missing_stsd.mp4",
        "FFmpeg's demuxer finds no video",
    ),
    (
        "streams/vp9/balle1-vp9.avi",
        "GStreamer's demuxer does not know VP9 in AVI",
    ),
];

/// Samples and rows that visl takes at least.
const LEAST_OF_VISL: u32 = 64;

const RESIZED: &str = "GStreamer gets no other size from visl as long as there are buffers";

/// Streams, by how their names begin, that do not go through visl, and why.
const NOT_ON_VISL: [(&str, &str); 8] = [
    (
        "conformance/h264/FRExt_MMCO4_Sony_B.264",
        "slices have counts of their own that are the default ones, which cannot be seen there",
    ),
    ("conformance/vp9/vp90-2-05-resize", RESIZED),
    ("conformance/vp9/vp90-2-14-resize-", RESIZED),
    ("conformance/vp9/vp90-2-18-resize", RESIZED),
    ("conformance/vp9/vp90-2-21-resize_inter_", RESIZED),
    ("conformance/vp9/vp90-2-22-svc_1280x720_3", RESIZED),
    ("streams/h264/ref_video_variable_parameters", RESIZED),
    ("streams/vp8/resolution-change", RESIZED),
];

const NOT_CARRIED: &str = "VA-API does not carry it, and decoding does not need it";
const RECOUNTED: &str = "VA-API carries the order counts, so they are told as those of type 0";
const UNUSED: &str = "no slice uses this default";
const KEY: &str = "a key frame refers to nothing";
const LUMA: &str = "4:2:0 uses those of luma for chroma";
const NO_MAP: &str = "nothing is read with them in a frame without a map of segments";

const ALLOWED: &[Allowed] = &[
    allowed("v4l2_ctrl_mpeg2_sequence.vbv_buffer_size", ALL, NOT_CARRIED),
    allowed(
        "v4l2_ctrl_mpeg2_sequence.profile_and_level_indication",
        ALL,
        NOT_CARRIED,
    ),
    allowed("v4l2_ctrl_mpeg2_picture.forward_ref_ts", ALL, KEY).when(is_intra),
    allowed(
        "v4l2_ctrl_mpeg2_picture.forward_ref_ts",
        ALL,
        "no frame is before the one whose second field this is; VA-API names its own",
    )
    .when(is_alone),
    allowed(
        "v4l2_ctrl_mpeg2_quantisation.chroma_intra_quantiser_matrix",
        ALL,
        LUMA,
    ),
    allowed(
        "v4l2_ctrl_mpeg2_quantisation.chroma_non_intra_quantiser_matrix",
        ALL,
        LUMA,
    ),
    allowed("v4l2_ctrl_vp9_frame.last_frame_ts", ALL, KEY).when(is_vp9_intra),
    allowed("v4l2_ctrl_vp9_frame.golden_frame_ts", ALL, KEY).when(is_vp9_intra),
    allowed("v4l2_ctrl_vp9_frame.alt_frame_ts", ALL, KEY).when(is_vp9_intra),
    allowed("v4l2_ctrl_h264_sps.profile_idc", ALL, NOT_CARRIED),
    allowed("v4l2_ctrl_h264_sps.constraint_set_flags", ALL, NOT_CARRIED),
    allowed("v4l2_ctrl_h264_sps.level_idc", ALL, NOT_CARRIED),
    allowed("v4l2_ctrl_h264_sps.seq_parameter_set_id", ALL, NOT_CARRIED),
    allowed("v4l2_ctrl_h264_pps.seq_parameter_set_id", ALL, NOT_CARRIED),
    allowed(
        "v4l2_ctrl_h264_pps.num_ref_idx_l0_default_active_minus1",
        ALL,
        UNUSED,
    )
    .when(|job| !is_true(job, DEFAULTS[0])),
    allowed(
        "v4l2_ctrl_h264_pps.num_ref_idx_l1_default_active_minus1",
        ALL,
        UNUSED,
    )
    .when(|job| !is_true(job, DEFAULTS[1])),
    allowed(
        "v4l2_ctrl_h264_pps.flags",
        V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT as u64,
        "lists are always sent, and flat ones are none",
    )
    .when(has_flat_lists),
    allowed("v4l2_ctrl_h264_sps.pic_order_cnt_type", ALL, RECOUNTED).when(is_counted),
    allowed(
        "v4l2_ctrl_h264_sps.log2_max_pic_order_cnt_lsb_minus4",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_sps.num_ref_frames_in_pic_order_cnt_cycle",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed("v4l2_ctrl_h264_sps.offset_for_ref_frame", ALL, RECOUNTED).when(is_counted),
    allowed("v4l2_ctrl_h264_sps.offset_for_non_ref_pic", ALL, RECOUNTED).when(is_counted),
    allowed(
        "v4l2_ctrl_h264_sps.offset_for_top_to_bottom_field",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_sps.flags",
        V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO as u64,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_pps.flags",
        V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT as u64,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_decode_params.pic_order_cnt_lsb",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_decode_params.pic_order_cnt_bit_size",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_decode_params.delta_pic_order_cnt_bottom",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_decode_params.delta_pic_order_cnt0",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed(
        "v4l2_ctrl_h264_decode_params.delta_pic_order_cnt1",
        ALL,
        RECOUNTED,
    )
    .when(is_counted),
    allowed("v4l2_ctrl_vp8_frame.last_frame_ts", ALL, KEY).when(is_vp8_key),
    allowed("v4l2_ctrl_vp8_frame.golden_frame_ts", ALL, KEY).when(is_vp8_key),
    allowed("v4l2_ctrl_vp8_frame.alt_frame_ts", ALL, KEY).when(is_vp8_key),
    allowed(
        "v4l2_ctrl_vp8_frame.flags",
        V4L2_VP8_FRAME_FLAG_SHOW_FRAME,
        "FFmpeg hands frames over without the tag that has it",
    ),
    allowed("v4l2_ctrl_vp8_frame.segment.segment_probs", ALL, NO_MAP).when(|job| {
        has_not(
            job,
            "v4l2_ctrl_vp8_frame.segment.flags",
            V4L2_VP8_SEGMENT_FLAG_UPDATE_MAP,
        )
    }),
    allowed("v4l2_ctrl_vp9_frame.seg.tree_probs", ALL, NO_MAP).when(|job| {
        has_not(
            job,
            "v4l2_ctrl_vp9_frame.seg.flags",
            V4L2_VP9_SEGMENTATION_FLAG_UPDATE_MAP.into(),
        )
    }),
    allowed("v4l2_ctrl_vp9_frame.seg.pred_probs", ALL, NO_MAP).when(|job| {
        has_not(
            job,
            "v4l2_ctrl_vp9_frame.seg.flags",
            V4L2_VP9_SEGMENTATION_FLAG_UPDATE_MAP.into(),
        )
    }),
    allowed(
        "v4l2_ctrl_vp8_frame.first_part_header_bits",
        0xc000_0000,
        "GStreamer's count runs over where the first partition is read to its end",
    ),
    allowed(
        "v4l2_ctrl_vp8_frame.horizontal_scale",
        ALL,
        "it is in the tag, and for who shows the frame",
    ),
    allowed(
        "v4l2_ctrl_vp8_frame.vertical_scale",
        ALL,
        "it is in the tag, and for who shows the frame",
    ),
];

fn is_true(theirs: &Fields, field: &str) -> bool {
    theirs.get(field).is_some_and(|value| value == "true")
}

fn has_flat_lists(theirs: &Fields) -> bool {
    // Of the larger lists two are used.
    [("scaling_list_4x4", 6 * 16), ("scaling_list_8x8", 2 * 64)]
        .into_iter()
        .all(|(field, count)| {
            let field = theirs.get(&format!("v4l2_ctrl_h264_scaling_matrix.{field}"));
            let numbers = field.map(|text| text.split(|c: char| !c.is_ascii_digit()));
            let mut numbers = numbers.into_iter().flatten().filter(|one| !one.is_empty());
            let flat = numbers.by_ref().take(count).filter(|one| *one == "16");
            flat.count() == count
        })
}

fn is_intra(theirs: &Fields) -> bool {
    let kind = theirs.get("v4l2_ctrl_mpeg2_picture.picture_coding_type");
    kind.is_some_and(|kind| kind == "1")
}

/// A predicted field that has nothing but the other one of its frame.
fn is_alone(theirs: &Fields) -> bool {
    let is = |field: &str, wanted: &str| {
        theirs
            .get(&format!("v4l2_ctrl_mpeg2_picture.{field}"))
            .is_some_and(|value| value == wanted)
    };
    is("picture_coding_type", "2") && !is("picture_structure", "3") && is("forward_ref_ts", "0")
}

fn is_vp9_intra(theirs: &Fields) -> bool {
    let intra = V4L2_VP9_FRAME_FLAG_KEY_FRAME | V4L2_VP9_FRAME_FLAG_INTRA_ONLY;
    !has_not(theirs, "v4l2_ctrl_vp9_frame.flags", intra)
}

fn is_vp8_key(theirs: &Fields) -> bool {
    !has_not(
        theirs,
        "v4l2_ctrl_vp8_frame.flags",
        V4L2_VP8_FRAME_FLAG_KEY_FRAME as u32,
    )
}

/// Whether a field of flags lacks one.
fn has_not(theirs: &Fields, field: &str, flag: u32) -> bool {
    let flags = theirs
        .get(field)
        .and_then(|flags| flags.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & flag == 0)
}

/// Order counts of type 1.
fn is_counted(theirs: &Fields) -> bool {
    let kind = theirs.get("v4l2_ctrl_h264_sps.pic_order_cnt_type");
    kind.is_some_and(|kind| kind == "1")
}

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let mut media: String = arguments.get("media")?;
    if media.is_empty() {
        media = std::env::var("KINORA_MEDIA").unwrap_or_default();
    }
    let (each, only): (usize, String) = (arguments.get("each")?, arguments.get("only")?);
    let media = PathBuf::from(media);
    let on: String = arguments.get("on")?;
    let witness = match on.as_str() {
        "kinora" => Witness::Daemon(Daemon::start()?),
        "visl" => Witness::Visl(Trace::start()?),
        other => return Err(format!("--on {other}: kinora or visl").into()),
    };
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tally = Tally::default();
    for stream in manifest::streams(&media)? {
        // What a front end makes of a broken stream is its own affair.
        let is_compared = NOT_COMPARED.iter().all(|(file, _)| *file != stream.file);
        let is_taken = !stream.damaged && is_compared && witness.takes(&stream);
        if !is_taken || !stream.file.contains(&only) {
            continue;
        }
        let count = seen.entry(stream.codec.name).or_default();
        *count += 1;
        if *count <= each {
            tally.row(&stream.file, || compare(&witness, &media, &stream))?;
        }
    }
    tally.end()
}

fn compare(witness: &Witness, media: &Path, stream: &Stream) -> Result<String> {
    let file = media.join(&stream.file);
    let file = file.to_str().ok_or("a name that is no text")?;
    let ffmpeg = "-nostdin -v error -threads 1 -init_hw_device vaapi=va:/dev/dri/renderD128 \
        -hwaccel vaapi -hwaccel_device va -hwaccel_output_format vaapi \
        -hwaccel_flags +allow_profile_mismatch -i";
    let mut command = Command::new("ffmpeg");
    command.args(ffmpeg.split_whitespace()).arg(file);
    let ours = witness.jobs_of(command.args(["-noautoscale", "-f", "null", "-"]))?;
    let mut command = Command::new("gst-launch-1.0");
    command.args([
        "-q",
        "filesrc",
        &format!("location={file}"),
        "!",
        "parsebin",
        "!",
    ]);
    let theirs = witness.jobs_of(command.args([stream.codec.stateless, "!", "fakesink"]))?;
    let (mut fields, mut different) = (0, BTreeMap::new());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let compared = theirs.iter();
        let compared = compared.filter(|(field, _)| !DEFAULTS.contains(&field.as_str()));
        for (field, value) in compared {
            let found = ours.get(field).map_or("nothing", String::as_str);
            if !may_be(field, found, value, theirs) {
                let first = || format!("job {number}, {field}: {found}, GStreamer {value}");
                different.entry(field).or_insert_with(first);
            }
            fields += 1;
        }
    }
    if !different.is_empty() {
        let all: Vec<String> = different.into_values().collect();
        return Err(all.join("; ").into());
    }
    // GStreamer waits for a frame's first field only, and may be gone before its last job is seen.
    let last = ours.last().and_then(|job| job.get(CONTINUES));
    let rest = ours.len() - theirs.len().min(ours.len());
    let is_all = rest == 0 || rest == 1 && last.is_some_and(|last| last == "true");
    if theirs.len() > ours.len() || !is_all || fields == 0 {
        return Err(format!("{} jobs, GStreamer {}", ours.len(), theirs.len()).into());
    }
    Ok(format!("{fields} fields of {} jobs equal", ours.len()))
}

fn may_be(field: &str, ours: &str, theirs: &str, job: &Fields) -> bool {
    let rows = ALLOWED.iter().filter(|row| row.field == field);
    let bits = rows
        .filter(|row| (row.when)(job))
        .fold(0, |bits, row| bits | row.bits);
    match (ours.parse::<u64>(), theirs.parse::<u64>()) {
        (Ok(ours), Ok(theirs)) => (ours ^ theirs) & !bits == 0,
        _ => ours == theirs || bits == ALL,
    }
}

/// Who sees what a decoder is told.
enum Witness {
    Daemon(Daemon),
    Visl(Trace),
}

impl Witness {
    /// Whether a stream can be seen here.
    fn takes(&self, stream: &Stream) -> bool {
        let is_there = |(begin, _): &(&str, &str)| stream.file.starts_with(begin);
        match self {
            Witness::Daemon(_) => true,
            Witness::Visl(_) => {
                let least = stream.size.0.min(stream.size.1);
                least >= LEAST_OF_VISL && !NOT_ON_VISL.iter().any(is_there)
            }
        }
    }

    /// The jobs that a client sends until its end.
    fn jobs_of(&self, client: &mut Command) -> Result<Vec<Fields>> {
        match self {
            Witness::Daemon(daemon) => {
                daemon.take();
                run(client)?;
                Ok(daemon.take())
            }
            Witness::Visl(trace) => {
                trace.take()?;
                run(client)?;
                Ok(traced(&trace.take()?))
            }
        }
    }
}

fn run(client: &mut Command) -> Result<()> {
    let done = client.stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last = said.lines().last().unwrap_or_default();
    let name = client.get_program().to_string_lossy().into_owned();
    Err(format!("{name}: {}: {last}", done.status).into())
}

/// What the sessions have noted.
struct Daemon(Arc<Mutex<Vec<Fields>>>);

impl Daemon {
    fn start() -> Result<Daemon> {
        let control = Control::open().map_err(|error| format!("open the chardev: {error}"))?;
        control.advertise(&mut advertisement())?;
        let noted = Arc::new(Mutex::new(Vec::new()));
        let jobs = Arc::clone(&noted);
        std::thread::spawn(move || {
            while let Ok(event) = control.event() {
                if event.r#type != KINORA_DEC_EVENT_OPEN {
                    continue;
                }
                // A client may be gone by now.
                if let Ok(session) = control.attach(event.session) {
                    let jobs = Arc::clone(&jobs);
                    std::thread::spawn(move || serve(session, &jobs));
                }
            }
        });
        Ok(Daemon(noted))
    }

    fn take(&self) -> Vec<Fields> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers what a session is asked; it ends with its client, or when the module breaks its promises.
fn serve(mut session: Session, noted: &Mutex<Vec<Fields>>) {
    let mut names = Names::default();
    while let Ok(Some(message)) = session.job() {
        let Ok(job) = Job::parse(message) else {
            return;
        };
        let fields = fields(&job, message, &mut names);
        noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fields);
        // A client that has gone took the job back.
        let _ = session.answer(job.head.job, KINORA_DEC_STATUS_DONE);
    }
}

/// Which picture of the session has which timestamp.
#[derive(Default)]
struct Names {
    count: u64,
    numbers: HashMap<u64, u64>,
}

impl Names {
    /// Replaces a timestamp by how many pictures ago that was, 0 when it names none: a client that
    /// begins a new session where the size changes counts anew.
    fn name(&self, timestamp: &mut u64) {
        let number = self.numbers.get(timestamp);
        *timestamp = number.map_or(0, |number| 1 + self.count - number);
    }

    /// The next picture.
    fn next(&mut self, timestamp: u64) {
        self.count += 1;
        self.numbers.insert(timestamp, self.count);
    }
}

/// A control's identifier and the bytes of its value.
type Value<'a> = (u32, &'a [u8]);

fn fields(job: &Job, message: &[u8], names: &mut Names) -> Fields {
    let mut controls: Vec<Value<'_>> = Vec::new();
    let mut rest = &message[size_of::<kinora_dec_job>()..];
    for (id, size) in &job.controls {
        let bytes = &rest[size_of::<kinora_dec_control>()..];
        controls.push((*id, &bytes[..*size]));
        rest = &bytes[size.next_multiple_of(8)..];
    }
    let uses = (job.head.coded == V4L2_PIX_FMT_H264_SLICE).then(|| {
        let data = message.get(job.head.data_offset as usize..);
        let data = data.and_then(|data| data.get(..job.head.data_size as usize));
        uses_defaults(&controls, data.unwrap_or_default())
    });
    let continues = job.head.flags & KINORA_DEC_JOB_CONTINUES != 0;
    spread_all(&controls, uses, continues, job.head.timestamp, names)
}

/// The fields of a job, which is a picture then that others may refer to.
fn spread_all(
    controls: &[Value<'_>],
    uses: Option<[bool; 2]>,
    continues: bool,
    timestamp: u64,
    names: &mut Names,
) -> Fields {
    let mut fields = Fields::new();
    for (id, bytes) in controls {
        note(*id, bytes, names, &mut fields);
    }
    for (field, is_used) in DEFAULTS.into_iter().zip(uses.into_iter().flatten()) {
        fields.insert(field.to_owned(), is_used.to_string());
    }
    fields.insert(CONTINUES.to_owned(), continues.to_string());
    if !continues {
        names.next(timestamp);
    }
    fields
}

/// The jobs of visl's trace, where each slice of a picture may have a request of its own.
fn traced(told: &[Told]) -> Vec<Fields> {
    let mut names = Names::default();
    let (mut jobs, mut before) = (Vec::new(), None);
    // Fields of a frame have its timestamp too, but parameters of their own.
    let is_same = |one: &Told, other: &Told| {
        let id = V4L2_CID_STATELESS_H264_DECODE_PARAMS;
        let params = one.control(id);
        one.timestamp == other.timestamp && params.is_some() && params == other.control(id)
    };
    for slices in told.chunk_by(is_same) {
        let timestamp = slices[0].timestamp;
        let controls = slices[0].controls.iter();
        let controls: Vec<Value<'_>> = controls.map(|(id, bytes)| (*id, &bytes[..])).collect();
        let continues = before == Some(timestamp);
        let uses = Some(has_defaults(slices));
        jobs.push(spread_all(
            &controls, uses, continues, timestamp, &mut names,
        ));
        before = Some(timestamp);
    }
    jobs
}

/// Whether slices have the default reference counts of each list.
fn has_defaults(slices: &[Told]) -> [bool; 2] {
    let mut has = [false; 2];
    for slice in slices {
        let pps = slice.control(V4L2_CID_STATELESS_H264_PPS);
        let pps = pps.and_then(|bytes| v4l2_ctrl_h264_pps::read_from_bytes(bytes).ok());
        let own = slice.control(V4L2_CID_STATELESS_H264_SLICE_PARAMS);
        let own = own.and_then(|bytes| v4l2_ctrl_h264_slice_params::read_from_bytes(bytes).ok());
        let (Some(pps), Some(own)) = (pps, own) else {
            continue;
        };
        let is_b = own.slice_type == V4L2_H264_SLICE_TYPE_B;
        let is_p = own.slice_type == V4L2_H264_SLICE_TYPE_P;
        let [l0, l1] = [
            own.num_ref_idx_l0_active_minus1 == pps.num_ref_idx_l0_default_active_minus1,
            own.num_ref_idx_l1_active_minus1 == pps.num_ref_idx_l1_default_active_minus1,
        ];
        has = [has[0] || (is_p || is_b) && l0, has[1] || is_b && l1];
    }
    has
}

/// Whether slices use the default reference counts of each list. A slice that cannot be read uses both.
fn uses_defaults(controls: &[Value<'_>], data: &[u8]) -> [bool; 2] {
    let find = |wanted| controls.iter().find(|(id, _)| *id == wanted);
    let sps = find(V4L2_CID_STATELESS_H264_SPS);
    let sps = sps.and_then(|(_, bytes)| v4l2_ctrl_h264_sps::read_from_bytes(bytes).ok());
    let pps = find(V4L2_CID_STATELESS_H264_PPS);
    let pps = pps.and_then(|(_, bytes)| v4l2_ctrl_h264_pps::read_from_bytes(bytes).ok());
    let (Some(sps), Some(pps)) = (sps, pps) else {
        return [true; 2];
    };
    let (sps, pps) = (sps_of(&sps), pps_of(&pps));
    let mut uses = [false; 2];
    for nal in nal_units(data) {
        let Ok(slice) = parse_slice_header(nal, &sps, &pps) else {
            return [true; 2];
        };
        if !slice.num_ref_idx_active_override {
            uses[..slice.slice_type.ref_lists()].fill(true);
        }
    }
    uses
}

/// As much of an SPS as slice headers are read with.
fn sps_of(control: &v4l2_ctrl_h264_sps) -> Sps {
    let flag = |flag| control.flags & flag != 0;
    Sps {
        profile_idc: control.profile_idc,
        chroma_format_idc: control.chroma_format_idc,
        separate_colour_plane: flag(V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE),
        log2_max_frame_num_minus4: control.log2_max_frame_num_minus4,
        pic_order_cnt_type: control.pic_order_cnt_type,
        log2_max_pic_order_cnt_lsb_minus4: control.log2_max_pic_order_cnt_lsb_minus4,
        delta_pic_order_always_zero: flag(V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO),
        max_num_ref_frames: control.max_num_ref_frames,
        pic_width_in_mbs_minus1: control.pic_width_in_mbs_minus1,
        pic_height_in_map_units_minus1: control.pic_height_in_map_units_minus1,
        frame_mbs_only: flag(V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY),
        mb_adaptive_frame_field: flag(V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD),
        direct_8x8_inference: flag(V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE),
        ..Sps::default()
    }
}

/// The same of a PPS.
fn pps_of(control: &v4l2_ctrl_h264_pps) -> Pps {
    let flag = |flag| control.flags & flag != 0;
    Pps {
        pic_parameter_set_id: control.pic_parameter_set_id,
        entropy_coding_mode: flag(V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE),
        bottom_field_pic_order_in_frame_present: flag(
            V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT,
        ),
        num_ref_idx_l0_default_active_minus1: control.num_ref_idx_l0_default_active_minus1,
        num_ref_idx_l1_default_active_minus1: control.num_ref_idx_l1_default_active_minus1,
        weighted_pred: flag(V4L2_H264_PPS_FLAG_WEIGHTED_PRED),
        weighted_bipred_idc: control.weighted_bipred_idc,
        deblocking_filter_control_present: flag(
            V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT,
        ),
        redundant_pic_cnt_present: flag(V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT),
        ..Pps::default()
    }
}

/// Notes the fields of a control; others than these come with no picture.
fn note(id: u32, bytes: &[u8], names: &Names, fields: &mut Fields) {
    match id {
        V4L2_CID_STATELESS_MPEG2_SEQUENCE => {
            spread::<v4l2_ctrl_mpeg2_sequence>(bytes, fields, |_| {});
        }
        V4L2_CID_STATELESS_MPEG2_PICTURE => {
            spread::<v4l2_ctrl_mpeg2_picture>(bytes, fields, |picture| {
                names.name(&mut picture.forward_ref_ts);
                names.name(&mut picture.backward_ref_ts);
            });
        }
        V4L2_CID_STATELESS_MPEG2_QUANTISATION => {
            spread::<v4l2_ctrl_mpeg2_quantisation>(bytes, fields, |_| {});
        }
        V4L2_CID_STATELESS_H264_SPS => spread::<v4l2_ctrl_h264_sps>(bytes, fields, |_| {}),
        V4L2_CID_STATELESS_H264_PPS => spread::<v4l2_ctrl_h264_pps>(bytes, fields, |_| {}),
        V4L2_CID_STATELESS_H264_SCALING_MATRIX => {
            // VA-API has two of the larger lists, and 4:2:0 uses no others.
            spread::<v4l2_ctrl_h264_scaling_matrix>(bytes, fields, |matrix| {
                matrix.scaling_list_8x8[2..].fill([0; 64]);
            });
        }
        V4L2_CID_STATELESS_H264_DECODE_PARAMS => {
            spread::<v4l2_ctrl_h264_decode_params>(bytes, fields, |params| {
                // Their order means nothing, and those that name no picture cannot be looked at.
                let mut dpb = params.dpb;
                dpb.iter_mut()
                    .for_each(|one| names.name(&mut one.reference_ts));
                let is_field = params.flags & V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC != 0;
                for one in &mut dpb {
                    // Fields have numbers of their own, odd for the parity of the picture; an entry
                    // with both fields can say either.
                    one.pic_num &= !u32::from(is_field);
                    let valid = one.flags & V4L2_H264_DPB_ENTRY_FLAG_VALID != 0;
                    if !valid || one.reference_ts == 0 {
                        *one = FromZeros::new_zeroed();
                    }
                    one.top_field_order_cnt &= ORDER;
                    one.bottom_field_order_cnt &= ORDER;
                }
                params.top_field_order_cnt &= ORDER;
                params.bottom_field_order_cnt &= ORDER;
                dpb.sort_by_key(|one| std::cmp::Reverse(one.reference_ts));
                params.dpb = dpb;
            });
        }
        V4L2_CID_STATELESS_VP8_FRAME => {
            spread::<v4l2_ctrl_vp8_frame>(bytes, fields, |frame| {
                names.name(&mut frame.last_frame_ts);
                names.name(&mut frame.golden_frame_ts);
                names.name(&mut frame.alt_frame_ts);
            });
        }
        V4L2_CID_STATELESS_VP9_FRAME => {
            spread::<v4l2_ctrl_vp9_frame>(bytes, fields, |frame| {
                names.name(&mut frame.last_frame_ts);
                names.name(&mut frame.golden_frame_ts);
                names.name(&mut frame.alt_frame_ts);
            });
        }
        V4L2_CID_STATELESS_VP9_COMPRESSED_HDR => {
            spread::<v4l2_ctrl_vp9_compressed_hdr>(bytes, fields, |_| {});
        }
        _ => {}
    }
}

/// Notes each field of a struct by its name, as `Debug` writes it.
fn spread<T: FromBytes + Debug>(bytes: &[u8], fields: &mut Fields, change: impl Fn(&mut T)) {
    let Ok(mut value) = T::read_from_bytes(bytes) else {
        return;
    };
    change(&mut value);
    let text = format!("{value:#?}");
    let mut lines = text.lines().map(str::trim);
    let mut path = vec![lines.next().unwrap_or_default().trim_end_matches(" {")];
    let mut lists = 0;
    let mut name = String::new();
    for line in lines {
        if lists > 0 {
            // All that is in a list is one value.
            if let Some(value) = fields.get_mut(&name) {
                value.push_str(line);
            }
            lists += usize::from(line.ends_with(['[', '{', '(']));
            lists -= usize::from(line.starts_with([']', '}', ')']));
            continue;
        }
        match line.split_once(": ") {
            Some((key, value)) if value.ends_with('{') => path.push(key),
            Some((key, value)) => {
                name = format!("{}.{key}", path.join("."));
                lists = usize::from(value.ends_with('['));
                let value = value.trim_end_matches(',');
                fields.insert(name.clone(), value.to_owned());
            }
            None => drop(path.pop()),
        }
    }
}
