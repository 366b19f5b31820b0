//! Each gate alone, on the board where it bites: one row, one reason.
//!
//! Every row starts from a file that plays and changes one thing, so the reasons that come back
//! must be exactly the one that the row names.

use boards::{Audio, Decoder, Facts, Outcome, Policy, Table, Verdict, Video, verdict};

const MP4: &str = "mov,mp4,m4a,3gp,3g2,mj2";
const RENDER: Policy = Policy {
    render: true,
    allow_software: false,
};
const GATE: Policy = Policy {
    render: false,
    allow_software: false,
};
const SOFTWARE: Policy = Policy {
    render: true,
    allow_software: true,
};

use Outcome::{Plays, Reject, Render};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn file(codec: &str, profile: &str, width: u32, height: u32, fps: &str) -> Facts {
    Facts {
        container: text(MP4),
        video: vec![Video {
            codec: text(codec),
            profile: text(profile),
            width: Some(width),
            height: Some(height),
            fps: fps.parse().ok(),
            sample_aspect: text("1/1"),
            rotation: Some(0),
            pix_fmt: text("yuv420p"),
            bit_depth: Some(8),
            chroma: text("4:2:0"),
            field_order: text("progressive"),
            ..Video::default()
        }],
        audio: vec![Audio { codec: text("aac") }],
        ..Facts::default()
    }
}

/// 1080p30 H.264 High with AAC in MP4: plays wherever H.264 counts.
fn h264() -> Facts {
    file("h264", "High", 1920, 1080, "30/1")
}

/// 2160p60 HEVC Main with AAC in MP4: plays wherever HEVC counts.
fn hevc() -> Facts {
    file("hevc", "Main", 3840, 2160, "60/1")
}

fn deep(mut facts: Facts, profile: &str, bits: u32, chroma: &str) -> Facts {
    let video = &mut facts.video[0];
    video.profile = text(profile);
    video.bit_depth = Some(bits);
    video.chroma = text(chroma);
    facts
}

fn sized(mut facts: Facts, width: u32, height: u32) -> Facts {
    facts.video[0].width = Some(width);
    facts.video[0].height = Some(height);
    facts
}

fn at(mut facts: Facts, fps: &str) -> Facts {
    facts.video[0].fps = fps.parse().ok();
    facts
}

fn inside(mut facts: Facts, container: &str) -> Facts {
    facts.container = text(container);
    facts
}

fn sounding(mut facts: Facts, codecs: &[&str]) -> Facts {
    facts.audio = codecs
        .iter()
        .map(|codec| Audio { codec: text(codec) })
        .collect();
    facts
}

fn with(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

fn video(facts: Facts, change: impl FnOnce(&mut Video)) -> Facts {
    with(facts, |facts| change(&mut facts.video[0]))
}

fn cover() -> Video {
    Video {
        codec: text("mjpeg"),
        attached_picture: true,
        ..Video::default()
    }
}

fn judge(facts: &Facts, board: &str, policy: Policy) -> Verdict {
    let table = Table::builtin();
    verdict(facts, table.get(board).unwrap(), policy, "clip.mp4")
}

fn sentences(said: &Verdict) -> Vec<String> {
    said.reasons.iter().map(ToString::to_string).collect()
}

fn owned(sentences: &[&str]) -> Vec<String> {
    sentences
        .iter()
        .map(|&sentence| sentence.to_owned())
        .collect()
}

type Row = (
    &'static str,
    Facts,
    &'static str,
    Policy,
    Outcome,
    &'static [&'static str],
);

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        // What each board plays.
        ("1080p30", h264(), "pi2", RENDER, Plays, &[]),
        ("1080p30", h264(), "pi3", RENDER, Plays, &[]),
        ("1080p60", at(h264(), "60"), "pi4-64", RENDER, Plays, &[]),
        ("2160p60 hevc", hevc(), "pi4-64", RENDER, Plays, &[]),
        ("2160p60 hevc", hevc(), "pi5", RENDER, Plays, &[]),
        ("2160p60 hevc", hevc(), "rockpi4", RENDER, Plays, &[]),
        ("2160p60 h264", at(sized(h264(), 3840, 2160), "60"), "rockpi4", RENDER, Plays, &[]),
        ("1080p30", h264(), "arm64", RENDER, Plays, &[]),
        ("2160p60 h264", at(sized(h264(), 3840, 2160), "60"), "x86", RENDER, Plays, &[]),
        ("2160p60 hevc", hevc(), "x86", RENDER, Plays, &[]),
        ("what plays, plays at a gate too", hevc(), "pi5", GATE, Plays, &[]),

        // Container.
        ("a lone name of the family", inside(h264(), "mp4"), "pi3", RENDER, Plays, &[]),
        ("matroska", inside(h264(), "matroska,webm"), "pi3", RENDER, Plays, &[]),
        ("transport stream", inside(h264(), "mpegts"), "pi3", RENDER, Plays, &[]),
        ("avi", inside(h264(), "avi"), "pi3", RENDER, Render, &["container: avi is not MP4, Matroska/WebM or MPEG-TS"]),
        ("flv", inside(h264(), "flv"), "pi3", RENDER, Render, &["container: flv is not MP4, Matroska/WebM or MPEG-TS"]),
        ("program stream", inside(h264(), "mpeg"), "pi3", GATE, Reject, &["container: mpeg is not MP4, Matroska/WebM or MPEG-TS"]),
        ("a name that only contains mp4", inside(h264(), "xmp4"), "pi3", RENDER, Render, &["container: xmp4 is not MP4, Matroska/WebM or MPEG-TS"]),
        ("unknown container", with(h264(), |f| f.container = None), "pi3", RENDER, Render, &["container: the container is unknown"]),

        // Codec.
        ("hevc on h264 only", sized(at(hevc(), "30"), 1920, 1080), "pi2", RENDER, Render, &["codec: hevc is not decoded by this board, only h264"]),
        ("hevc on h264 only", hevc(), "arm64", RENDER, Render, &["codec: hevc is not decoded by this board, only h264"]),
        ("vp9", video(h264(), |v| v.codec = text("vp9")), "pi4-64", RENDER, Render, &["codec: vp9 is not decoded by this board, only h264 and hevc"]),
        ("av1", video(h264(), |v| v.codec = text("av1")), "x86", GATE, Reject, &["codec: av1 is not decoded by this board, only h264 and hevc"]),
        ("mpeg2", video(h264(), |v| v.codec = text("mpeg2video")), "pi3", RENDER, Render, &["codec: mpeg2video is not decoded by this board, only h264"]),
        ("no name", video(h264(), |v| v.codec = None), "pi3", RENDER, Reject, &["codec: the codec is unknown"]),

        // Hardware and software.
        ("software beside hardware", h264(), "pi5", RENDER, Render, &["codec: h264 is decoded in software only by this board, and only hardware counts"]),
        ("software beside hardware, at a gate", h264(), "pi5", GATE, Reject, &["codec: h264 is decoded in software only by this board, and only hardware counts"]),
        ("software allowed", at(h264(), "60"), "pi5", SOFTWARE, Plays, &[]),
        ("software allowed, but too fast", at(h264(), "61"), "pi5", SOFTWARE, Render, &["fps: 61 frames per second, the decoder keeps up with 60"]),
        ("software allowed where there is no row", video(h264(), |v| v.codec = text("vp9")), "pi5", SOFTWARE, Render, &["codec: vp9 is not decoded by this board, only hevc and h264"]),

        // Profile, bit depth, chroma of h264 rows.
        ("constrained baseline", deep(h264(), "Constrained Baseline", 8, "4:2:0"), "pi2", RENDER, Plays, &[]),
        ("baseline", deep(h264(), "Baseline", 8, "4:2:0"), "pi2", RENDER, Plays, &[]),
        ("main", deep(h264(), "Main", 8, "4:2:0"), "pi2", RENDER, Plays, &[]),
        ("extended", deep(h264(), "Extended", 8, "4:2:0"), "pi2", RENDER, Render, &["profile: Extended is not among Constrained Baseline, Baseline, Main, High"]),
        ("high 10 with 8 bits", deep(h264(), "High 10", 8, "4:2:0"), "x86", RENDER, Render, &["profile: High 10 is not among Constrained Baseline, Baseline, Main, High"]),
        ("high 10", deep(h264(), "High 10", 10, "4:2:0"), "pi4-64", RENDER, Render, &["profile: High 10 is not among Constrained Baseline, Baseline, Main, High", "bit depth: 10 bits per sample, the decoder takes 8"]),
        ("high 4:2:2", deep(h264(), "High 4:2:2", 8, "4:2:2"), "rockpi4", RENDER, Render, &["profile: High 4:2:2 is not among Constrained Baseline, Baseline, Main, High", "chroma: 4:2:2, the decoder takes 4:2:0"]),
        ("high 4:4:4", deep(h264(), "High 4:4:4 Predictive", 8, "4:4:4"), "x86", GATE, Reject, &["profile: High 4:4:4 Predictive is not among Constrained Baseline, Baseline, Main, High", "chroma: 4:4:4, the decoder takes 4:2:0"]),
        ("bit depth alone", deep(h264(), "High", 10, "4:2:0"), "pi3", RENDER, Render, &["bit depth: 10 bits per sample, the decoder takes 8"]),
        ("chroma alone", deep(h264(), "High", 8, "4:2:2"), "pi3", RENDER, Render, &["chroma: 4:2:2, the decoder takes 4:2:0"]),
        ("grey", deep(h264(), "High", 8, "4:0:0"), "pi3", RENDER, Render, &["chroma: 4:0:0, the decoder takes 4:2:0"]),
        ("profile unknown", video(h264(), |v| v.profile = None), "pi3", RENDER, Render, &["profile: the profile is unknown, so it may not be among Constrained Baseline, Baseline, Main, High"]),
        ("bit depth unknown", video(h264(), |v| v.bit_depth = None), "pi3", RENDER, Render, &["bit depth: the bit depth is unknown, the decoder takes 8"]),
        ("chroma unknown", video(h264(), |v| v.chroma = None), "pi3", RENDER, Render, &["chroma: the subsampling is unknown, the decoder takes 4:2:0"]),

        // The same of hevc rows.
        ("main 10", deep(hevc(), "Main 10", 10, "4:2:0"), "pi4-64", RENDER, Plays, &[]),
        ("main 10", deep(hevc(), "Main 10", 10, "4:2:0"), "pi5", RENDER, Plays, &[]),
        ("main 10", deep(hevc(), "Main 10", 10, "4:2:0"), "rockpi4", RENDER, Plays, &[]),
        ("main 10", deep(hevc(), "Main 10", 10, "4:2:0"), "x86", RENDER, Plays, &[]),
        ("12 bits", deep(hevc(), "Main 10", 12, "4:2:0"), "pi5", RENDER, Render, &["bit depth: 12 bits per sample, the decoder takes 8 and 10"]),
        ("range extensions", deep(hevc(), "Rext", 10, "4:2:2"), "pi5", RENDER, Render, &["profile: Rext is not among Main, Main 10", "chroma: 4:2:2, the decoder takes 4:2:0"]),
        ("range extensions by name only", deep(hevc(), "Rext", 8, "4:2:0"), "x86", RENDER, Render, &["profile: Rext is not among Main, Main 10"]),
        ("still picture profile", deep(hevc(), "Main Still Picture", 8, "4:2:0"), "x86", RENDER, Render, &["profile: Main Still Picture is not among Main, Main 10"]),

        // Size.
        ("one column too wide", sized(h264(), 1922, 1080), "pi3", RENDER, Render, &["size: 1922 pixels wide, the decoder takes at most 1920"]),
        ("one pair of lines too high", sized(h264(), 1920, 1082), "pi3", RENDER, Render, &["size: 1082 pixels high, the decoder takes at most 1080"]),
        ("wide, but few pixels", sized(h264(), 2560, 480), "pi2", RENDER, Render, &["size: 2560 pixels wide, the decoder takes at most 1920"]),
        ("both", sized(h264(), 3840, 2160), "pi4-64", RENDER, Render, &["size: 3840 pixels wide, the decoder takes at most 1920", "size: 2160 pixels high, the decoder takes at most 1080"]),
        ("small", sized(h264(), 64, 48), "pi2", RENDER, Plays, &[]),
        ("ultrawide", sized(h264(), 5760, 1080), "x86", RENDER, Render, &["size: 5760 pixels wide, the decoder takes at most 3840"]),
        ("ultrawide hevc", sized(hevc(), 5760, 1080), "pi5", RENDER, Render, &["size: 5760 pixels wide, the decoder takes at most 3840"]),
        ("cinema 4K", sized(hevc(), 4096, 2160), "pi4-64", RENDER, Render, &["size: 4096 pixels wide, the decoder takes at most 3840"]),
        ("portrait", sized(h264(), 1080, 1920), "pi4-64", RENDER, Render, &["size: 1920 pixels high, the decoder takes at most 1080"]),
        ("portrait", sized(h264(), 1080, 1920), "pi3", GATE, Reject, &["size: 1920 pixels high, the decoder takes at most 1080"]),
        ("portrait within a 4K row", sized(h264(), 1080, 1920), "x86", RENDER, Plays, &[]),
        ("portrait 4K", sized(hevc(), 2160, 3840), "rockpi4", RENDER, Render, &["size: 3840 pixels high, the decoder takes at most 2160"]),
        ("lying with a rotation: the decoder sees it lying", video(h264(), |v| v.rotation = Some(90)), "pi3", RENDER, Plays, &[]),
        ("standing with a rotation", video(sized(h264(), 1080, 1920), |v| v.rotation = Some(270)), "pi3", RENDER, Render, &["size: 1920 pixels high, the decoder takes at most 1080"]),
        ("no width", video(h264(), |v| v.width = None), "pi3", RENDER, Reject, &["size: width and height are not both known"]),
        ("no height", video(h264(), |v| v.height = None), "pi3", RENDER, Reject, &["size: width and height are not both known"]),
        ("width nought", sized(h264(), 0, 1080), "pi3", RENDER, Reject, &["size: width and height are not both known"]),
        ("a thread", sized(h264(), 20000, 20), "pi3", RENDER, Reject, &["size: 20000 pixels wide, the decoder takes at most 1920", "size: 20000x20 leaves a side too short to encode a variant"]),
        ("20000x20000", sized(h264(), 20000, 20000), "x86", RENDER, Render, &["size: 20000 pixels wide, the decoder takes at most 3840", "size: 20000 pixels high, the decoder takes at most 2160"]),

        // Rate.
        ("just below", at(h264(), "30000/1001"), "pi2", RENDER, Plays, &[]),
        ("at the limit, not reduced", at(h264(), "60/2"), "pi2", RENDER, Plays, &[]),
        ("just above", at(h264(), "30001/1000"), "pi2", RENDER, Render, &["fps: 30.001 frames per second, the decoder keeps up with 30"]),
        ("far above", at(h264(), "60"), "pi2", RENDER, Render, &["fps: 60 frames per second, the decoder keeps up with 30"]),
        ("just below 60", at(hevc(), "60000/1001"), "pi4-64", RENDER, Plays, &[]),
        ("at 60", at(hevc(), "60"), "pi4-64", RENDER, Plays, &[]),
        ("just above 60", at(hevc(), "60001/1000"), "pi4-64", RENDER, Render, &["fps: 60.001 frames per second, the decoder keeps up with 60"]),
        ("rows are not mixed", at(sized(h264(), 1280, 720), "60"), "pi3", RENDER, Render, &["fps: 60 frames per second, the decoder keeps up with 30"]),
        ("very slow", at(h264(), "1/10"), "pi2", RENDER, Plays, &[]),
        ("no rate", video(h264(), |v| v.fps = None), "pi2", RENDER, Render, &["fps: the frame rate is unknown"]),
        ("no rate, at a gate", video(h264(), |v| v.fps = None), "x86", GATE, Reject, &["fps: the frame rate is unknown"]),

        // Sound.
        ("no sound", sounding(h264(), &[]), "pi2", RENDER, Plays, &[]),
        ("opus", sounding(h264(), &["opus"]), "pi2", RENDER, Plays, &[]),
        ("raw samples", sounding(h264(), &["pcm_s24be"]), "pi2", RENDER, Plays, &[]),
        ("surround", sounding(h264(), &["truehd"]), "pi2", RENDER, Plays, &[]),
        ("a codec without a decoder", sounding(h264(), &["ac4"]), "pi2", RENDER, Render, &["audio: ac4 has no decoder in the player"]),
        ("the same at a gate", sounding(h264(), &["mpegh_3d_audio"]), "pi2", GATE, Reject, &["audio: mpegh_3d_audio has no decoder in the player"]),
        ("a codec without a name", with(h264(), |f| f.audio = vec![Audio::default()]), "pi2", RENDER, Render, &["audio: the codec of the sound is unknown"]),
        ("only the first track is opened", sounding(h264(), &["aac", "ac4"]), "pi2", RENDER, Plays, &[]),

        // Not a video at all.
        ("nothing", Facts::default(), "pi2", RENDER, Reject, &["video: the file has no video stream"]),
        ("sound only", with(h264(), |f| f.video.clear()), "pi2", RENDER, Reject, &["video: the file has sound but no video stream"]),
        ("a song with its cover", with(h264(), |f| f.video = vec![cover()]), "pi2", RENDER, Reject, &["video: the file has sound and a cover picture but no video stream"]),
        ("a cover alone", with(h264(), |f| { f.video = vec![cover()]; f.audio.clear(); }), "pi2", RENDER, Reject, &["video: the file has a cover picture but no video stream"]),
        ("a video with a cover before it", with(h264(), |f| f.video.insert(0, cover())), "pi2", RENDER, Plays, &[]),
        ("a photo", inside(h264(), "png_pipe"), "pi2", RENDER, Render, &["video: the file is a picture, not a video"]),
        ("a photo by its name", inside(h264(), "image2"), "pi2", GATE, Reject, &["video: the file is a picture, not a video"]),

        // Not gates.
        ("interlaced", video(h264(), |v| v.field_order = text("tt")), "pi2", RENDER, Plays, &[]),
        ("anamorphic", video(sized(h264(), 1440, 1080), |v| v.sample_aspect = text("4/3")), "pi2", RENDER, Plays, &[]),

        // Several at once, in the order of the gates.
        ("everything", at(sized(inside(sounding(deep(h264(), "High 10", 10, "4:2:2"), &["ac4"]), "avi"), 4096, 2160), "120"), "pi3", RENDER, Render, &[
            "container: avi is not MP4, Matroska/WebM or MPEG-TS",
            "profile: High 10 is not among Constrained Baseline, Baseline, Main, High",
            "bit depth: 10 bits per sample, the decoder takes 8",
            "chroma: 4:2:2, the decoder takes 4:2:0",
            "size: 4096 pixels wide, the decoder takes at most 1920",
            "size: 2160 pixels high, the decoder takes at most 1080",
            "fps: 120 frames per second, the decoder keeps up with 30",
            "audio: ac4 has no decoder in the player",
        ]),
    ]
}

#[test]
fn every_gate_alone() {
    let rows = rows();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for (what, facts, board, policy, outcome, reasons) in rows {
        let said = judge(&facts, board, policy);
        assert_eq!(
            (said.verdict, sentences(&said)),
            (outcome, owned(reasons)),
            "{what} on {board}"
        );

        assert_eq!(
            said.decoder.is_some(),
            outcome == Plays,
            "{what} on {board}: decoder"
        );
        assert!(
            said.hwdec.is_none() || outcome == Plays,
            "{what} on {board}: hwdec"
        );
        assert_eq!(
            said.variant.is_some(),
            said.command.is_some(),
            "{what} on {board}: variant and command"
        );
        match outcome {
            Plays => assert_eq!(said.command, None, "{what} on {board}"),
            Render => assert!(said.command.is_some(), "{what} on {board}"),
            // A gate rejects what could be rendered elsewhere, and says how.
            Reject if !policy.render => {
                let elsewhere = judge(
                    &facts,
                    board,
                    Policy {
                        render: true,
                        ..policy
                    },
                );
                assert_eq!(said.command, elsewhere.command, "{what} on {board}");
            }
            Reject => assert_eq!(said.command, None, "{what} on {board}"),
        }
    }
}

#[test]
fn what_plays_says_what_decodes_it() {
    let rows = [
        (
            "pi2",
            h264(),
            RENDER,
            Some((Decoder::Hardware, Some("v4l2m2m-copy"))),
        ),
        (
            "pi4-64",
            h264(),
            RENDER,
            Some((Decoder::Hardware, Some("v4l2m2m-copy"))),
        ),
        (
            "pi4-64",
            hevc(),
            RENDER,
            Some((Decoder::Hardware, Some("drm-copy"))),
        ),
        (
            "x86",
            hevc(),
            SOFTWARE,
            Some((Decoder::Hardware, Some("vaapi-copy"))),
        ),
        ("arm64", h264(), RENDER, Some((Decoder::Software, None))),
        ("pi5", h264(), SOFTWARE, Some((Decoder::Software, None))),
        ("pi5", h264(), RENDER, None),
    ];
    for (board, facts, policy, expected) in rows {
        let said = judge(&facts, board, policy);
        let found = said.decoder.map(|decoder| (decoder, said.hwdec.as_deref()));
        assert_eq!(found, expected, "{board}");
    }
}

#[test]
fn a_turned_row_takes_a_picture_either_way() {
    let table = Table::builtin()
        .with_overrides(
            r#"
            [[board]]
            id = "pi3"
            decodes = [{ codec = "h264", size = "1920x1080", fps = 30, hwdec = "v4l2m2m-copy", turned = true }]
            "#,
        )
        .unwrap();
    type Row = (
        u32,
        u32,
        Outcome,
        &'static [&'static str],
        Option<(u32, u32)>,
    );
    let rows: [Row; 5] = [
        (1920, 1080, Plays, &[], None),
        (1080, 1920, Plays, &[], None),
        (
            1082,
            1920,
            Render,
            &["size: 1082 pixels wide, the decoder takes at most 1080"],
            Some((1080, 1916)),
        ),
        (
            2160,
            3840,
            Render,
            &[
                "size: 2160 pixels wide, the decoder takes at most 1080",
                "size: 3840 pixels high, the decoder takes at most 1920",
            ],
            Some((1080, 1920)),
        ),
        (
            1920,
            1920,
            Render,
            &["size: 1920 pixels high, the decoder takes at most 1080"],
            Some((1080, 1080)),
        ),
    ];
    for (width, height, outcome, reasons, variant) in rows {
        let said = verdict(
            &sized(h264(), width, height),
            table.get("pi3").unwrap(),
            RENDER,
            "a.mp4",
        );
        assert_eq!(
            (said.verdict, sentences(&said)),
            (outcome, owned(reasons)),
            "{width}x{height}"
        );
        assert_eq!(
            said.variant.map(|variant| (variant.width, variant.height)),
            variant,
            "{width}x{height}"
        );
    }
}

/// (board, source, variant as codec, width, height, rate, copied)
#[test]
fn the_variant_is_no_larger_and_no_faster_than_target_or_source() {
    let vp9 = |width, height, fps| file("vp9", "Profile 0", width, height, fps);
    let rows = [
        (
            "pi3",
            vp9(1280, 720, "25"),
            ("h264", 1280, 720, Some("25/1"), false),
        ),
        (
            "pi3",
            vp9(3840, 2160, "60"),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(3840, 2160, "60000/1001"),
            ("h264", 1920, 1080, Some("30000/1001"), false),
        ),
        (
            "pi3",
            vp9(1920, 1080, "50"),
            ("h264", 1920, 1080, Some("25/1"), false),
        ),
        (
            "pi3",
            vp9(1920, 1080, "48"),
            ("h264", 1920, 1080, Some("24/1"), false),
        ),
        (
            "pi3",
            vp9(1920, 1080, "120"),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        // Half of 31 would be far below what the board can show.
        (
            "pi3",
            vp9(1920, 1080, "31"),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(1920, 1080, "90000"),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(5760, 1080, "30"),
            ("h264", 1920, 360, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(1080, 1920, "30"),
            ("h264", 608, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(853, 479, "30"),
            ("h264", 852, 478, Some("30/1"), false),
        ),
        (
            "pi3",
            vp9(2048, 858, "24"),
            ("h264", 1920, 804, Some("24/1"), false),
        ),
        (
            "pi4-64",
            vp9(1080, 1920, "30"),
            ("hevc", 1080, 1920, Some("30/1"), false),
        ),
        (
            "pi4-64",
            vp9(7680, 4320, "120"),
            ("hevc", 3840, 2160, Some("60/1"), false),
        ),
        (
            "x86",
            sized(h264(), 5760, 1080),
            ("hevc", 3840, 720, Some("30/1"), false),
        ),
        (
            "pi3",
            video(vp9(1920, 1080, "30"), |v| v.rotation = Some(90)),
            ("h264", 608, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            video(vp9(1920, 1080, "30"), |v| v.rotation = Some(180)),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            video(vp9(1920, 1080, "30"), |v| v.fps = None),
            ("h264", 1920, 1080, None, false),
        ),
        // What is within a row is copied, whatever else is wrong.
        (
            "pi4-64",
            inside(h264(), "flv"),
            ("h264", 1920, 1080, Some("30/1"), true),
        ),
        (
            "pi3",
            video(inside(h264(), "flv"), |v| v.rotation = Some(90)),
            ("h264", 1920, 1080, Some("30/1"), true),
        ),
        (
            "pi5",
            sounding(hevc(), &["ac4"]),
            ("hevc", 3840, 2160, Some("60/1"), true),
        ),
        // AVI has no presentation times: only what has no B pictures can be copied from it.
        (
            "pi3",
            inside(h264(), "avi"),
            ("h264", 1920, 1080, Some("30/1"), false),
        ),
        (
            "pi3",
            deep(inside(h264(), "avi"), "Constrained Baseline", 8, "4:2:0"),
            ("h264", 1920, 1080, Some("30/1"), true),
        ),
    ];
    for (board, facts, (codec, width, height, fps, copied)) in rows {
        let said = judge(&facts, board, RENDER);
        let variant = said
            .variant
            .unwrap_or_else(|| panic!("{board}: no variant of {facts:?}"));
        let rate = variant.fps.map(|fps| fps.to_string());
        assert_eq!(
            (
                variant.codec.as_str(),
                variant.width,
                variant.height,
                rate.as_deref(),
                variant.copied
            ),
            (codec, width, height, fps, copied),
            "{board}: {facts:?}"
        );
    }
}

#[test]
fn the_json_is_the_documented_object() {
    let plays = serde_json::to_value(judge(&hevc(), "pi4", RENDER)).unwrap();
    assert_eq!(
        plays,
        serde_json::json!({
            "board": "pi4-64", "name": "Raspberry Pi 4 (64-bit)", "verdict": "plays", "decoder": "hardware",
            "reasons": [], "hwdec": "drm-copy",
            "decodes": ["h264 up to 1920x1080 at 60 fps (v4l2m2m-copy)", "hevc up to 3840x2160 at 60 fps (drm-copy)"],
            "target": "hevc 2160p60", "variant": null, "command": null,
        })
    );
    let rejected = serde_json::to_value(judge(&at(h264(), "60000/1001"), "pi2", GATE)).unwrap();
    assert_eq!(
        rejected,
        serde_json::json!({
            "board": "pi2", "name": "Raspberry Pi 2", "verdict": "reject", "decoder": null,
            "reasons": ["fps: 59.94 frames per second, the decoder keeps up with 30"], "hwdec": null,
            "decodes": ["h264 up to 1920x1080 at 30 fps (v4l2m2m-copy)"],
            "target": "h264 1080p30",
            "variant": {"codec": "h264", "width": 1920, "height": 1080, "fps": "30000/1001", "copied": false},
            "command": "ffmpeg -i clip.mp4 -r 30000/1001 -c:v libx264 -preset superfast -c:a copy -movflags +faststart clip-h264-1080p30.mp4",
        })
    );
}
