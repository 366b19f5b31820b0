//! Which rungs `kinora ladder` makes: the usual ones in some codecs, those of a file, or those that a
//! trial leaves.

use anyhow::Result;
use clap::ValueEnum;
use ladder::{Codec, Options};
use std::path::PathBuf;

/// What the stream consists of.
#[derive(clap::Args)]
pub struct RungsArgs {
    /// Codecs that the usual rungs are made in; hevc and av1 need --container cmaf
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "CODEC",
        default_value = "h264"
    )]
    codec: Vec<CodecName>,
    /// Make the rungs of this TOML file instead of the usual ones: a `[[rung]]` table each, with
    /// height, codec, bit_rate, max_rate, buffer, preset and name, all of which may be left out
    #[arg(long, value_name = "FILE", conflicts_with = "codec")]
    rungs: Option<PathBuf>,
    /// Encode samples first, and lower or drop the rungs that need less or are no use
    #[arg(long)]
    per_title: bool,
    /// Make no thumbnails for seeking
    #[arg(long)]
    no_thumbnails: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum CodecName {
    /// Plays everywhere
    H264,
    /// A third less bits
    Hevc,
    /// Half of the bits
    Av1,
}

impl RungsArgs {
    /// Puts it into the options.
    pub fn set(&self, options: &mut Options) -> Result<()> {
        let codecs = self.codec.iter().map(|codec| match codec {
            CodecName::H264 => Codec::H264,
            CodecName::Hevc => Codec::Hevc,
            CodecName::Av1 => Codec::Av1,
        });
        options.codecs = codecs.collect();
        options.rungs = self.rungs.as_deref().map(ladder::read_rungs).transpose()?;
        options.per_title = self.per_title;
        options.thumbnails = !self.no_thumbnails;
        Ok(())
    }
}
