//! Whatever the facts say, a verdict comes back, it is consistent, and its variant plays.

use boards::{Audio, Decoder, Facts, Outcome, Policy, Rate, Subtitle, Table, Video, verdict};

/// Xorshift64 (Marsaglia, 2003): the same facts on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// One of `choices`, and one time in eight nothing.
    fn perhaps<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        (self.below(8) != 0).then(|| self.pick(choices))
    }

    fn name(&mut self, choices: &[&str]) -> Option<String> {
        self.perhaps(choices).map(str::to_owned)
    }

    fn side(&mut self) -> Option<u32> {
        let any = u32::try_from(self.next() & 0xffff_ffff).unwrap();
        self.perhaps(&[
            0,
            1,
            15,
            16,
            17,
            479,
            720,
            1080,
            1081,
            1280,
            1920,
            2160,
            3840,
            4096,
            u32::MAX,
            any,
            any % 5000,
        ])
    }

    fn rate(&mut self) -> Option<Rate> {
        let (num, den) = (self.next(), self.next());
        let choices = [
            "24/1",
            "30000/1001",
            "30/1",
            "30001/1000",
            "50/1",
            "60/1",
            "60000/1001",
            "18446744073709551615/1",
            "1/18446744073709551615",
        ]
        .map(|text| text.parse::<Rate>().unwrap());
        if self.below(4) == 0 {
            Rate::new(num, den)
        } else {
            self.perhaps(&choices)
        }
    }

    /// Puts something else in `place`, one time in eight.
    fn damage<T>(&mut self, place: &mut T, other: impl FnOnce(&mut Self) -> T) {
        if self.below(8) == 0 {
            *place = other(self);
        }
    }

    /// A common stream with a few fields replaced, so that every verdict comes up.
    fn video(&mut self) -> Video {
        let (codec, profile) =
            self.pick(&[("h264", "High"), ("hevc", "Main"), ("vp9", "Profile 0")]);
        let text = |text: &str| Some(text.to_owned());
        let mut video = Video {
            codec: text(codec),
            profile: text(profile),
            width: Some(1280),
            height: Some(720),
            fps: Rate::new(30_000, 1001),
            variable_rate: false,
            sample_aspect: text("1/1"),
            rotation: Some(0),
            pix_fmt: text("yuv420p"),
            bit_depth: Some(8),
            chroma: text("4:2:0"),
            field_order: text("progressive"),
            color_transfer: text("bt709"),
            attached_picture: false,
        };
        self.damage(&mut video.codec, |r| r.name(&["av1", "", "h264 ", "\0"]));
        self.damage(&mut video.profile, |r| {
            r.name(&[
                "Main",
                "Main 10",
                "Constrained Baseline",
                "High 10",
                "Rext",
                "",
            ])
        });
        self.damage(&mut video.width, Self::side);
        self.damage(&mut video.height, Self::side);
        self.damage(&mut video.fps, Self::rate);
        self.damage(&mut video.sample_aspect, |r| r.name(&["0/1", "4/3", "x"]));
        self.damage(&mut video.rotation, |r| {
            r.perhaps(&[90, 180, 270, -90, i32::MIN, i32::MAX])
        });
        self.damage(&mut video.pix_fmt, |r| {
            r.name(&["yuvj420p", "yuv420p10le", "yuv444p", "é"])
        });
        self.damage(&mut video.bit_depth, |r| r.perhaps(&[10, 12, 0, u32::MAX]));
        self.damage(&mut video.chroma, |r| r.name(&["4:2:2", ""]));
        self.damage(&mut video.field_order, |r| r.name(&["tt", "unknown"]));
        self.damage(&mut video.color_transfer, |r| {
            r.name(&["smpte2084", "arib-std-b67"])
        });
        self.damage(&mut video.attached_picture, |_| true);
        self.damage(&mut video.variable_rate, |_| true);
        video
    }

    fn facts(&mut self) -> Facts {
        let mut facts = Facts {
            container: Some("matroska,webm".to_owned()),
            ..Facts::default()
        };
        self.damage(&mut facts.container, |r| {
            r.name(&["avi", "flv", "", ",,", "png_pipe", "mov,mp4"])
        });
        for _ in 0..self.pick(&[0, 1, 1, 1, 1, 2]) {
            facts.video.push(self.video());
        }
        for _ in 0..self.below(3) {
            let codec = self.name(&["aac", "opus", "flac", "pcm_s16le", "ac4", ""]);
            facts.audio.push(Audio { codec });
        }
        for _ in 0..self.below(3) {
            let codec = self.name(&["subrip", "dvb_subtitle"]);
            facts.subtitles.push(Subtitle { codec });
        }
        facts
    }

    fn file_name(&mut self) -> String {
        let pieces = [
            "a", "/", ".", "..", "-", "'", "\"", "\n", "\0", " ", "é", "映", "$(id)", ":", "\\",
            "%", ".mp4",
        ];
        let length = self.pick(&[0, 1, 3, 9, 400]);
        (0..length).map(|_| self.pick(&pieces)).collect()
    }
}

/// What a probe would say of the variant.
fn made(said: &boards::Verdict, board: &boards::Board, source: &Facts) -> Option<Facts> {
    let variant = said.variant.as_ref()?;
    let video = if variant.copied {
        source.main_video()?.clone()
    } else {
        let profile = if variant.codec == "hevc" {
            "Main"
        } else {
            "High"
        };
        Video {
            codec: Some(variant.codec.clone()),
            profile: Some(profile.to_owned()),
            width: Some(variant.width),
            height: Some(variant.height),
            fps: Some(variant.fps.unwrap_or(board.target.fps)),
            bit_depth: Some(8),
            chroma: Some("4:2:0".to_owned()),
            ..Video::default()
        }
    };
    Some(Facts {
        container: Some("mp4".to_owned()),
        video: vec![video],
        ..Facts::default()
    })
}

#[test]
fn any_facts_get_a_consistent_verdict() {
    let table = Table::builtin()
        .with_overrides(
            r#"
            [[board]]
            id = "turned"
            name = "Odd sides, either way"
            decodes = [
                { codec = "hevc", size = "1281x721", fps = "60000/1001", hwdec = "x", turned = true },
                { codec = "vp9", size = "4294967295x4294967295", fps = 120 },
            ]
            target = { codec = "hevc", size = "1281x721", fps = "30000/1001" }
            output = { vo = "null" }
            "#,
        )
        .unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut seen = [0_u32; 3];
    for _ in 0..20_000 {
        let facts = random.facts();
        let board = random.pick(table.boards());
        let policy = Policy {
            render: random.below(2) == 0,
            allow_software: random.below(2) == 0,
        };
        let said = verdict(&facts, &board, policy, &random.file_name());
        let told = || format!("{policy:?} {facts:?} {said:?}");

        let plays = said.verdict == Outcome::Plays;
        seen[said.verdict as usize] += 1;
        assert_eq!(plays, said.reasons.is_empty(), "{}", told());
        assert_eq!(plays, said.decoder.is_some(), "{}", told());
        assert_eq!(
            said.hwdec.is_some(),
            said.decoder == Some(Decoder::Hardware),
            "{}",
            told()
        );
        assert_eq!(said.variant.is_some(), said.command.is_some(), "{}", told());
        assert_eq!(
            said.verdict == Outcome::Render,
            policy.render && said.variant.is_some(),
            "{}",
            told()
        );
        assert!(!plays || said.variant.is_none(), "{}", told());
        let first_words = said
            .command
            .as_ref()
            .is_none_or(|line| line.starts_with("ffmpeg -i "));
        assert!(
            first_words && !said.command.iter().any(|line| line.contains('\0')),
            "{}",
            told()
        );
        assert!(serde_json::to_string(&said).is_ok(), "{}", told());

        if let Some(picture) = said.variant.as_ref().filter(|v| v.codec == "webp") {
            let fits = picture.width <= board.target.width && picture.height <= board.target.height;
            assert!(fits && picture.fps.is_none(), "{}", told());
            continue;
        }
        if let Some(variant) = said.variant.as_ref().filter(|variant| !variant.copied) {
            let shown = facts.main_video().unwrap();
            let (width, height) = shown.size().unwrap();
            let (width, height) = if shown.is_turned() {
                (height, width)
            } else {
                (width, height)
            };
            assert!(
                variant.width <= width && variant.height <= height,
                "{}",
                told()
            );
            assert!(
                variant.width % 2 == 0 && variant.height % 2 == 0,
                "{}",
                told()
            );
            assert!(
                variant.fps <= shown.fps && variant.fps <= Some(board.target.fps),
                "{}",
                told()
            );
        }
        if let Some(result) = made(&said, &board, &facts) {
            let again = verdict(&result, &board, policy, "again.mp4");
            assert_eq!(again.verdict, Outcome::Plays, "{} then {again:?}", told());
        }
    }
    assert!(
        seen.iter().all(|&count| count > 1000),
        "the facts are too much alike: {seen:?}"
    );
}

/// A probe's text may be cut or damaged anywhere; reading it may fail but not panic.
#[test]
fn damaged_json_is_an_error_at_worst() {
    let whole = r#"{"container":"mp4","video":[{"codec":"h264","width":1920,"height":1080,"fps":"30/1","rotation":90}],"audio":[{"codec":"aac"}],"subtitles":null}"#;
    assert!(serde_json::from_str::<Facts>(whole).is_ok());
    let mut random = Random(42);
    let mut refused = 0;
    for end in 0..whole.len() {
        refused += u32::from(serde_json::from_str::<Facts>(&whole[..end]).is_err());
        let mut bytes = whole.as_bytes().to_vec();
        bytes[end] = u8::try_from(random.next() & 0x7f).unwrap();
        if let Ok(facts) = serde_json::from_slice::<Facts>(&bytes) {
            let table = Table::builtin();
            let said = verdict(&facts, &table.boards()[0], Policy::default(), "a");
            assert_eq!(said.verdict == Outcome::Plays, said.reasons.is_empty());
        }
    }
    assert_eq!(refused, u32::try_from(whole.len()).unwrap());
}
