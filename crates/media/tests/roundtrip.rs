//! Frames made here, encoded, muxed in memory, written to a file, opened and decoded again.

use std::path::Path;

use media::{
    AudioChain, AudioEncoder, AudioEncoderOptions, AudioSource, Decoder, Frame, Geometry, Graph,
    Input, Kind, Muxer, MuxerStream, OpenOptions, Packet, PixelFormat, Rational, Scaler,
    VideoEncoder, VideoEncoderOptions, VideoSource,
};

const FRAMES: i64 = 30;
const TICK: Rational = Rational::new(1, 25);

/// A diagonal gradient that moves by four samples a frame.
fn picture(width: u32, height: u32, pts: i64) -> Frame {
    let mut frame = Frame::video(width, height, PixelFormat::YUV420P).unwrap();
    let (luma, stride) = frame.plane_mut(0).unwrap();
    for (row, line) in luma.chunks_mut(stride).enumerate() {
        for (column, sample) in line.iter_mut().enumerate() {
            *sample = 16 + ((row + column + 4 * pts as usize) % 200) as u8;
        }
    }
    for plane in [1, 2] {
        frame
            .plane_mut(plane)
            .unwrap()
            .0
            .fill(100 + 20 * plane as u8);
    }
    frame.set_pts(Some(pts));
    frame.set_duration(1);
    frame
}

fn options(global_header: bool) -> VideoEncoderOptions {
    VideoEncoderOptions {
        width: 320,
        height: 180,
        time_base: TICK,
        frame_rate: Some(TICK.inverse()),
        bit_rate: Some(500_000),
        max_rate: Some(750_000),
        buffer_size: Some(1_000_000),
        gop: Some(1000),
        global_header,
        ..VideoEncoderOptions::default()
    }
}

fn encode(options: &VideoEncoderOptions, idr_at: &[i64]) -> (MuxerStream, Vec<Packet>) {
    let mut encoder = VideoEncoder::open(options).unwrap();
    let mut packets = Vec::new();
    for pts in 0..=FRAMES {
        if pts < FRAMES {
            let frame = picture(options.width, options.height, pts);
            encoder.send(Some(&frame), idr_at.contains(&pts)).unwrap();
        } else {
            encoder.send(None, false).unwrap();
        }
        packets.extend(std::iter::from_fn(|| encoder.receive().unwrap()));
    }
    (encoder.stream().unwrap(), packets)
}

fn tone() -> (MuxerStream, Vec<Packet>) {
    let mut encoder = AudioEncoder::open(&AudioEncoderOptions::default()).unwrap();
    let size = encoder.frame_size();
    assert_eq!((size, encoder.delay()), (1024, 1024));
    let mut packets = Vec::new();
    for index in 0..56 {
        let mut frame = Frame::silence(size, 48_000).unwrap();
        for channel in 0..2 {
            for (n, sample) in frame.samples_mut(channel).unwrap().iter_mut().enumerate() {
                *sample = (n as f32 * 0.05).sin() * 0.2;
            }
        }
        frame.set_pts(Some(index * i64::from(size)));
        encoder.send(Some(&frame)).unwrap();
        packets.extend(std::iter::from_fn(|| encoder.receive().unwrap()));
    }
    encoder.send(None).unwrap();
    packets.extend(std::iter::from_fn(|| encoder.receive().unwrap()));
    for packet in &mut packets {
        packet.set_stream(1);
    }
    (encoder.stream().unwrap(), packets)
}

fn write(path: &Path, format: &str, mux_options: &[(&str, &str)], idr_at: &[i64]) -> usize {
    let (video, video_packets) = encode(&options(format == "mp4"), idr_at);
    let (audio, audio_packets) = tone();
    let mut muxer = Muxer::memory(format, &[video, audio], mux_options).unwrap();
    let mut bytes = muxer.take();
    let header = bytes.len();
    for packet in video_packets.iter().chain(&audio_packets) {
        muxer.write(packet).unwrap();
    }
    bytes.extend(muxer.finish().unwrap());
    std::fs::write(path, bytes).unwrap();
    header
}

/// Decodes all of the best video; gives times in ticks and the mean of the first picture's luma.
fn decode(path: &Path) -> (Vec<i64>, f64) {
    let mut input = Input::open(path, &OpenOptions::default()).unwrap();
    let stream = input.best_video().unwrap().clone();
    assert_eq!(
        (stream.codec(), stream.width(), stream.height()),
        ("h264", 320, 180)
    );
    assert_eq!(stream.parameters.colour().space(), Some("bt709"));
    assert_eq!(
        input
            .best_audio()
            .unwrap()
            .parameters
            .channel_layout()
            .as_deref(),
        Some("stereo")
    );
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(&stream, 1).unwrap();
    let mut times = Vec::new();
    let mut mean = 0.0;
    loop {
        let packet = input.read().unwrap();
        decoder.send(packet.as_ref()).unwrap();
        while let Some(frame) = decoder.receive().unwrap() {
            if times.is_empty() {
                let (luma, stride) = frame.plane(0).unwrap();
                let sum: u64 = luma
                    .chunks(stride)
                    .flat_map(|row| &row[..320])
                    .map(|sample| u64::from(*sample))
                    .sum();
                mean = sum as f64 / (320.0 * 180.0);
            }
            times.push(stream.time_base.rescale(frame.pts().unwrap(), TICK));
        }
        if packet.is_none() {
            return (times, mean);
        }
    }
}

/// Muxer, first picture's tick, muxer options.
type Row = (&'static str, i64, &'static [(&'static str, &'static str)]);

#[test]
fn mpegts_and_fragmented_mp4() {
    // libav's demuxer answers negative composition offsets by moving all pictures back.
    let rows: [Row; 2] = [
        (
            "mpegts",
            0,
            &[("mpegts_copyts", "1"), ("avoid_negative_ts", "disabled")],
        ),
        (
            "mp4",
            2,
            &[
                (
                    "movflags",
                    "frag_custom+empty_moov+default_base_moof+negative_cts_offsets+skip_trailer",
                ),
                ("use_editlist", "0"),
                ("avoid_negative_ts", "disabled"),
            ],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (format, first, mux_options) in rows {
        let path = folder.path().join(format);
        let header = write(&path, format, mux_options, &[0, 10]);
        let (times, mean) = decode(&path);
        assert_eq!(
            times,
            (first..first + FRAMES).collect::<Vec<_>>(),
            "{format}"
        );
        let (sum, count) = (0..180usize)
            .flat_map(|row| (0..320).map(move |column| (row + column) % 200 + 16))
            .fold((0, 0), |(sum, count), sample| (sum + sample, count + 1));
        let expected = sum as f64 / f64::from(count);
        assert!(
            (mean - expected).abs() < 1.0,
            "{format}: mean {mean}, expected {expected}"
        );
        if format == "mp4" {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(&bytes[4..8], b"ftyp");
            assert_eq!(
                &bytes[header + 4..header + 8],
                b"moof",
                "the header ends with the moov"
            );
        }
    }
}

#[test]
fn forced_idr_frames_are_key_frames_and_bytes_repeat() {
    let (_, packets) = encode(&options(false), &[10, 20]);
    let keys: Vec<_> = packets
        .iter()
        .filter(|packet| packet.is_key())
        .map(|packet| packet.pts().unwrap())
        .collect();
    assert_eq!(keys, [0, 10, 20]);
    assert_eq!(packets.len() as i64, FRAMES);
    assert!(packets.iter().all(|packet| packet.duration() == 1));
    assert!(
        packets[0].data().starts_with(&[0, 0, 0, 1]),
        "parameter sets come with the IDR"
    );
    let (_, again) = encode(&options(false), &[10, 20]);
    let bytes = |packets: &[Packet]| {
        packets
            .iter()
            .flat_map(|p| p.data().to_vec())
            .collect::<Vec<_>>()
    };
    assert!(
        bytes(&packets) == bytes(&again),
        "one thread repeats its bytes"
    );
}

#[test]
fn global_headers_are_extradata() {
    let encoder = VideoEncoder::open(&options(true)).unwrap();
    assert!(!encoder.extradata().is_empty());
    let build = media::encoder_build("libx264").unwrap();
    assert!(build.starts_with("x264 - core "), "{build}");
}

#[test]
fn unknown_options_and_encoders_are_named() {
    let mut wrong = options(false);
    wrong.options.insert("no-such-option".into(), "1".into());
    let error = VideoEncoder::open(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("no-such-option") && error.contains("libx264"),
        "{error}"
    );
    let error = media::trial_encode("h264_nonesuch")
        .unwrap_err()
        .to_string();
    assert!(error.contains("h264_nonesuch"), "{error}");
    let (stream, _) = encode(&options(false), &[]);
    let error = Muxer::memory("mpegts", &[stream], &[("nonesuch", "1")])
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("nonesuch"), "{error}");
}

#[test]
fn the_chosen_encoder_encodes() {
    let encoder = media::choose_h264_encoder().unwrap();
    assert!(
        media::H264_ENCODERS.contains(&encoder.as_str()),
        "{encoder}"
    );
    media::trial_encode(&encoder).unwrap();
}

#[test]
fn clones_share_planes_until_written() {
    let frame = picture(64, 64, 0);
    let mut clone = frame.clone();
    assert_eq!(
        frame.plane(0).unwrap().0.as_ptr(),
        clone.plane(0).unwrap().0.as_ptr()
    );
    clone.plane_mut(0).unwrap().0[0] = 255;
    assert_eq!(
        (frame.plane(0).unwrap().0[0], clone.plane(0).unwrap().0[0]),
        (16, 255)
    );
    assert!(frame.bytes() >= 64 * 64 * 3 / 2);
}

#[test]
fn scaling_keeps_time_and_converts_range() {
    let mut white = Frame::video(64, 64, PixelFormat::YUV420P).unwrap();
    for (plane, value) in [(0, 255), (1, 128), (2, 128)] {
        white.plane_mut(plane).unwrap().0.fill(value);
    }
    white.set_colour(media::Colour::JPEG);
    white.set_pts(Some(7));
    white.set_duration(2);
    for (width, height) in [(64, 64), (32, 16)] {
        let target = Geometry::new(width, height, PixelFormat::YUV420P);
        let mut scaler = Scaler::new(Geometry::of(&white), target).unwrap();
        let scaled = scaler.scale(&white).unwrap();
        assert_eq!((scaled.width(), scaled.height()), (width, height));
        assert_eq!((scaled.pts(), scaled.duration()), (Some(7), 2));
        assert_eq!(scaled.colour().range(), Some("tv"));
        assert_eq!(scaled.plane(0).unwrap().0[0], 235, "{width}x{height}");
        assert_eq!(scaled.plane(1).unwrap().0[0], 128, "{width}x{height}");
    }
}

#[test]
fn ten_bits_are_dithered_to_eight() {
    let ten = PixelFormat::YUV420P10LE;
    let mut frame = Frame::video(64, 64, ten).unwrap();
    // 402 in ten bits is 100.5 in eight: dithering gives both neighbours.
    for plane in 0..3 {
        let value: u16 = if plane == 0 { 402 } else { 512 };
        for sample in frame.plane_mut(plane).unwrap().0.chunks_exact_mut(2) {
            sample.copy_from_slice(&value.to_le_bytes());
        }
    }
    let target = Geometry::new(64, 64, PixelFormat::YUV420P);
    let scaled = Scaler::new(Geometry::of(&frame), target)
        .unwrap()
        .scale(&frame)
        .unwrap();
    let (luma, stride) = scaled.plane(0).unwrap();
    let mean: f64 = luma
        .chunks(stride)
        .flat_map(|row| &row[..64])
        .map(|s| f64::from(*s))
        .sum::<f64>()
        / 4096.0;
    assert!((mean - 100.5).abs() < 0.2, "mean {mean}");
    assert!(luma.contains(&100) && luma.contains(&101));
}

#[test]
fn graphs_turn_pictures_and_follow_size_changes() {
    let frame = picture(64, 32, 0);
    let source = VideoSource::of(&frame, TICK, Some(TICK.inverse()));
    let mut graph = Graph::video("transpose=clock", &source).unwrap();
    let mut sizes = Vec::new();
    for (pts, (width, height)) in [(64, 32), (64, 32), (128, 32)].into_iter().enumerate() {
        graph
            .push(Some(&picture(width, height, pts as i64)))
            .unwrap();
        sizes.extend(std::iter::from_fn(|| graph.pull().unwrap()).map(|f| (f.width(), f.height())));
    }
    graph.push(None).unwrap();
    sizes.extend(std::iter::from_fn(|| graph.pull().unwrap()).map(|f| (f.width(), f.height())));
    assert_eq!(sizes, [(32, 64), (32, 64), (32, 128)]);
    let error = Graph::video("nonesuch", &source).err().unwrap().to_string();
    assert!(error.contains("nonesuch"), "{error}");
}

#[test]
fn late_audio_and_gaps_become_silence() {
    let mut first = Frame::silence(1000, 48_000).unwrap();
    first.samples_mut(0).unwrap().fill(0.5);
    first.samples_mut(1).unwrap().fill(0.5);
    let tick = Rational::new(1, 48_000);
    let chain = AudioChain::stereo(48_000);
    let mut graph = Graph::audio(
        &chain.description,
        &AudioSource::of(&first, tick),
        Some(1024),
    )
    .unwrap();
    let mut sound: Vec<f32> = Vec::new();
    // Half a second late, then a pause of half a second after the first thousand samples.
    for pts in [24_000, 49_000] {
        let mut frame = first.clone();
        frame.set_pts(Some(pts));
        graph.push(Some(&frame)).unwrap();
    }
    graph.push(None).unwrap();
    let mut next = 0;
    while let Some(frame) = graph.pull().unwrap() {
        assert_eq!(frame.pts(), Some(next));
        next += i64::from(frame.samples());
        sound.extend(frame.samples_of(0).unwrap());
    }
    assert_eq!(sound.len(), 50_000);
    let rows = [
        (0, 0.0),
        (23_000, 0.0),
        (24_500, 0.5),
        (30_000, 0.0),
        (48_500, 0.0),
        (49_500, 0.5),
    ];
    for (at, expected) in rows {
        assert!(
            (sound[at] - expected).abs() < 0.01,
            "sample {at}: {}",
            sound[at]
        );
    }
}

#[test]
fn everything_moves_between_threads() {
    fn check<T: Send>() {}
    check::<Input>();
    check::<Decoder>();
    check::<Scaler>();
    check::<Graph>();
    check::<VideoEncoder>();
    check::<AudioEncoder>();
    check::<Muxer>();
    check::<Frame>();
    check::<Packet>();
    let _ = Kind::Video;
}
