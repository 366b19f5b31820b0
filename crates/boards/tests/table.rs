//! The embedded table says what the design says, and a user's file changes just what it names.

use boards::{Error, Table};

#[test]
fn the_embedded_table_holds_the_seven_boards() {
    let rows: Vec<(String, String, String, String)> = Table::builtin()
        .boards()
        .iter()
        .map(|board| {
            let decodes: Vec<String> = board.decodes.iter().map(ToString::to_string).collect();
            (
                board.id.clone(),
                decodes.join("; "),
                board.target.to_string(),
                board.output.vo.clone(),
            )
        })
        .collect();
    let pi = "h264 up to 1920x1080 at 30 fps (v4l2m2m-copy)";
    let hevc = "hevc up to 3840x2160 at 60 fps (drm-copy)";
    let expected = [
        ("pi2", pi.to_owned(), "h264 1080p30", "drm"),
        ("pi3", pi.to_owned(), "h264 1080p30", "drm"),
        ("pi4-64", format!("h264 up to 1920x1080 at 60 fps (v4l2m2m-copy); {hevc}"), "hevc 2160p60", "gpu"),
        ("pi5", format!("h264 up to 1920x1080 at 60 fps (in software); {hevc}"), "hevc 2160p60", "gpu"),
        ("rockpi4", format!("h264 up to 3840x2160 at 60 fps (drm-copy); {hevc}"), "hevc 2160p60", "gpu"),
        ("arm64", "h264 up to 1920x1080 at 30 fps (in software)".to_owned(), "h264 1080p30", "gpu"),
        (
            "x86",
            "h264 up to 3840x2160 at 60 fps (vaapi-copy); hevc up to 3840x2160 at 60 fps (vaapi-copy)".to_owned(),
            "hevc 2160p60",
            "gpu",
        ),
    ]
    .map(|(id, decodes, target, vo)| (id.to_owned(), decodes, target.to_owned(), vo.to_owned()));
    assert_eq!(rows, expected);
}

#[test]
fn names_are_found_in_any_case() {
    let table = Table::builtin();
    for (name, id) in [
        ("pi4-64", Some("pi4-64")),
        ("PI4", Some("pi4-64")),
        (" pi3-64 ", Some("pi3")),
        ("generic-arm64", Some("arm64")),
        ("pi", None),
        ("", None),
    ] {
        assert_eq!(
            table.get(name).map(|board| board.id.as_str()),
            id,
            "{name:?}"
        );
    }
}

#[test]
fn amending_changes_what_is_named_and_nothing_else() {
    let before = Table::builtin();
    let after = before
        .with_overrides(
            r#"
            [[board]]
            id = "pi3"
            name = "Pi 3 in the hall"
            decodes = [
                { codec = "h264", size = "1920x1080", fps = "60000/1001", hwdec = "v4l2m2m-copy", turned = true },
                { codec = "vp8", size = "1280x720", fps = 29.97 },
            ]
            "#,
        )
        .unwrap();
    let (old, new) = (before.get("pi3").unwrap(), after.get("pi3").unwrap());
    assert_eq!(new.name, "Pi 3 in the hall");
    assert_eq!(
        new.decodes[0].to_string(),
        "h264 up to 1920x1080, standing or lying, at 59.94 fps (v4l2m2m-copy)"
    );
    assert_eq!(
        new.decodes[1].to_string(),
        "vp8 up to 1280x720 at 29.97 fps (in software)"
    );
    assert_eq!(
        (
            &new.aliases,
            &new.device_tree,
            &new.target,
            &new.output,
            &new.notes
        ),
        (
            &old.aliases,
            &old.device_tree,
            &old.target,
            &old.output,
            &old.notes
        )
    );
    assert_eq!(after.boards().len(), before.boards().len());
    assert_eq!(after.get("pi4-64"), before.get("pi4-64"));
}

#[test]
fn replacing_keeps_nothing() {
    let table = Table::builtin()
        .with_overrides(
            r#"
            fallback = "pi2"
            [[board]]
            id = "pi4-64"
            replace = true
            name = "Other"
            decodes = [{ codec = "h264", size = "1280x720", fps = 30 }]
            target = { codec = "h264", size = "1280x720", fps = 30 }
            output = { vo = "null" }
            "#,
        )
        .unwrap();
    let board = table.get("pi4-64").unwrap();
    assert_eq!(
        (
            board.aliases.len(),
            board.device_tree.len(),
            board.notes.len()
        ),
        (0, 0, 0)
    );
    assert_eq!(board.output_shared, None);
    assert_eq!(board.target.to_string(), "h264 720p30");
    assert!(table.get("pi4").is_none());
    assert_eq!(table.fallback().id, "pi2");
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in [
        "",
        "# nothing yet\n",
        "[codecs.prores]\nprofiles = []\nbit_depths = [10]\nchroma = [\"4:2:2\"]\n",
    ] {
        let table = Table::builtin().with_overrides(text).unwrap();
        assert_eq!(table.boards(), Table::builtin().boards());
    }
}

/// A whole board to break, one line per key; it starts on line 1.
const BOARD: &str = r#"[[board]]
id = "mine"
name = "Mine"
decodes = [
  { codec = "h264", size = "1920x1080", fps = 30, hwdec = "drm-copy" },
  { codec = "hevc", size = "1920x1080", fps = 30 },
]
target = { codec = "h264", size = "1920x1080", fps = 30 }
output = { vo = "gpu" }
"#;

#[test]
fn a_mistake_is_reported_with_its_line() {
    Table::builtin().with_overrides(BOARD).unwrap();
    // (what to put, in whose place, the line, what the message names)
    let rows = [
        (r#"id = "mine"#, r#"id = "Mine"#, 2, "only a-z"),
        (r#"id = "mine""#, r#"id = """#, 2, "only a-z"),
        (
            r#"id = "mine""#,
            r#"id = "pi4""#,
            1,
            "already belongs to board pi4-64",
        ),
        (r#"id = "mine""#, r#"id = 7"#, 2, "invalid type"),
        (r#"name = "Mine""#, "", 1, "board mine: no name is given"),
        (
            r#"name = "Mine""#,
            "colour = 1",
            3,
            "unknown field `colour`",
        ),
        (r#"name = "Mine""#, "name = ", 3, ""),
        (
            r#"name = "Mine""#,
            "name = \"Mine\"\naliases = [\"PI3-64\"]",
            1,
            "already belongs to board pi3",
        ),
        (
            r#"size = "1920x1080", fps = 30, hwdec"#,
            r#"size = "1920", fps = 30, hwdec"#,
            5,
            "such as \"1920x1080\"",
        ),
        (
            r#"size = "1920x1080", fps = 30, hwdec"#,
            r#"size = "0x9", fps = 30, hwdec"#,
            5,
            "such as \"1920x1080\"",
        ),
        (
            r#"size = "1920x1080", fps = 30, hwdec"#,
            r#"size = "1920x1080", fps = 0, hwdec"#,
            5,
            "frame rate",
        ),
        (
            r#"size = "1920x1080", fps = 30, hwdec"#,
            r#"size = "1920x1080", fps = "x", hwdec"#,
            5,
            "frame rate",
        ),
        (
            r#"{ codec = "hevc", size"#,
            r#"{ codec = "wmv9", size"#,
            6,
            "neither the row nor [codecs.wmv9]",
        ),
        (
            r#"target = { codec = "h264""#,
            r#"target = { codec = "vp9""#,
            8,
            "h264 and hevc only",
        ),
        // Software does not count beside hardware, so no variant may be made for it.
        (
            r#"target = { codec = "h264""#,
            r#"target = { codec = "hevc""#,
            8,
            "does not decode it, only h264",
        ),
        (
            r#"target = { codec = "h264", size = "1920x1080", fps = 30"#,
            r#"target = { codec = "h264", size = "1920x1088", fps = 30"#,
            8,
            "does not decode it",
        ),
        (
            r#"target = { codec = "h264", size = "1920x1080", fps = 30"#,
            r#"target = { codec = "h264", size = "1920x1080", fps = 31"#,
            8,
            "does not decode it",
        ),
        (
            r#"hwdec = "drm-copy" }"#,
            r#"hwdec = "drm-copy", bit_depths = [10] }"#,
            8,
            "what the encoder writes",
        ),
        (r#"output = { vo = "gpu" }"#, "", 1, "no output is given"),
        (
            r#"output = { vo = "gpu" }"#,
            "output = { args = [] }",
            9,
            "missing field `vo`",
        ),
        (
            "[[board]]",
            "fallback = \"nobody\"\n[[board]]",
            1,
            "fallback names no board: nobody",
        ),
    ];
    for (old, new, line, names) in rows {
        assert!(BOARD.contains(old), "{old}");
        let text = BOARD.replacen(old, new, 1);
        let error = Table::builtin().with_overrides(&text).expect_err(&text);
        let Error::Table {
            file,
            line: at,
            message,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(
            (file.as_str(), *at),
            ("boards.toml", line),
            "{new}: {message}"
        );
        assert!(message.contains(names), "{new}: {message}");
    }
}

#[test]
fn a_file_is_named_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let error = Table::builtin().with_file(&path).unwrap_err().to_string();
    assert!(error.contains("mine.toml"), "{error}");

    std::fs::write(&path, "\n\n[[bord]]\n").unwrap();
    let error = Table::builtin().with_file(&path).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}:3: ", path.display())),
        "{error}"
    );

    std::fs::write(&path, BOARD).unwrap();
    assert!(
        Table::builtin()
            .with_file(&path)
            .unwrap()
            .get("mine")
            .is_some()
    );
}

const REFERENCE: &str = include_str!("../../../docs/ref/boards.md");

#[test]
fn the_reference_shows_the_table_as_it_is() {
    for board in Table::builtin().boards() {
        let decodes: Vec<String> = board.decodes.iter().map(ToString::to_string).collect();
        let row = format!(
            "| `{}` | {} | {} | {} |",
            board.id,
            decodes.join("; "),
            board.target,
            board.aliases.join(", ")
        );
        assert!(
            REFERENCE.contains(&row),
            "docs/ref/boards.md lacks the row\n{row}"
        );
    }
}

#[test]
fn the_example_of_the_reference_is_taken() {
    let (_, rest) = REFERENCE.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let table = Table::builtin().with_overrides(example).unwrap();
    assert!(table.get("pi3").unwrap().decodes[0].turned);
    assert_eq!(table.get("orangepi5").unwrap().decodes.len(), 3);
    assert!(!table.get("x86").unwrap().has_hardware());
    assert!(table.get("amd64").is_none());
}

/// A worker is told its board in JSON.
#[test]
fn a_board_reads_back_from_its_json() {
    let own = r#"
        [[board]]
        id = "odd"
        name = "Odd"
        decodes = [{ codec = "h264", size = "2048x1080", fps = "30000/1001", turned = true }]
        target = { codec = "h264", size = "2048x1080", fps = "30000/1001" }
        output = { vo = "gpu" }
    "#;
    let table = Table::builtin().with_overrides(own).unwrap();
    for board in table.boards() {
        let json = serde_json::to_string(board).unwrap();
        let back: boards::Board = serde_json::from_str(&json).unwrap();
        assert_eq!(&back, board, "{json}");
        assert_eq!(board.target.to_string().parse().as_ref(), Ok(&board.target));
    }
    for text in [
        "",
        "h264",
        "h264 1080",
        "h264 xp30",
        "h264 1080p0",
        "h264 0x2@3",
    ] {
        assert!(text.parse::<boards::Target>().is_err(), "{text}");
    }
}
