//! Contexts: what a client decodes a stream with. The work is a channel's, of which a context has one
//! at a time.

use crate::buffer::Buffers;
use crate::channel::{Channel, End};
use crate::config::Config;
use crate::driver::Driver;
use crate::edge::lock;
use crate::error::Error;
use crate::surface::Surface;
use crate::va::{VABufferID, VASurfaceID};
use std::sync::{Arc, Mutex};

/// A context.
#[derive(Debug)]
pub struct Context {
    channel: Mutex<Arc<Channel>>,
}

impl Context {
    /// A context for pictures of about this size; what they are really is said by each.
    ///
    /// # Errors
    /// No decoder takes them, or it cannot be opened.
    pub fn new(config: &Arc<Config>, size: (u32, u32), targets: u32) -> Result<Context, Error> {
        let channel = Channel::new(config, size, targets)?;
        Ok(Context {
            channel: Mutex::new(Arc::new(channel)),
        })
    }

    fn channel(&self) -> Arc<Channel> {
        Arc::clone(&lock(&self.channel))
    }

    /// Begins a picture.
    pub fn begin(&self, surface: Arc<Surface>, id: VASurfaceID) {
        self.channel().begin(surface, id);
    }

    /// Adds buffers to the picture, or what is wrong with them.
    ///
    /// # Errors
    /// No picture has begun.
    pub fn render(&self, buffers: &Buffers, ids: &[VABufferID]) -> Result<(), Error> {
        self.channel().render(buffers, ids)
    }

    /// Hands the picture to the decoder.
    ///
    /// # Errors
    /// It cannot be decoded; the next picture is not affected by that.
    pub fn end(&self, driver: &Driver) -> Result<(), Error> {
        let channel = self.channel();
        let End::Elsewhere(other, begun) = channel.end(driver)? else {
            return Ok(());
        };
        crate::debug!("a context goes on with the channel of its first picture's references");
        *lock(&self.channel) = Arc::clone(&other);
        other.take_over(begun);
        // It has decoded before, so there is no third one.
        other.end(driver).map(drop)
    }

    /// Ends the context.
    pub fn finish(&self, buffers: &Buffers) {
        self.channel().release(buffers);
    }
}
