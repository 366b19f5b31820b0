//! H.264 written by hand: one macroblock wide, samples as they are (I_PCM) or copied (P_Skip).
//!
//! What encoders do not make can be made with it: field pairs, slices that are not there, gaps in
//! `frame_num`. Every sample of the result is known. ITU-T H.264 clauses 7.3.2.1, 7.3.2.2, 7.3.3.

/// Bits of a NAL unit's payload.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn u(&mut self, count: u32, value: u32) -> &mut Self {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << self.free;
        }
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let length = (value + 1).ilog2();
        self.u(length, 0).u(length + 1, value + 1)
    }

    fn align(&mut self) -> &mut Self {
        self.free = 0;
        self
    }

    /// The NAL unit with its start code, stop bit and emulation prevention.
    fn nal(&mut self, header: u8) -> Vec<u8> {
        self.u(1, 1);
        let mut out = vec![0, 0, 0, 1, header];
        let mut zeros = 0;
        for byte in std::mem::take(&mut self.bytes) {
            if zeros >= 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Structure {
    Frame,
    Top,
    Bottom,
}

/// One slice of one macroblock.
pub struct Slice {
    pub structure: Structure,
    pub frame_num: u32,
    /// Whether it is part of an IDR picture.
    pub idr: bool,
    /// The macroblock's place in its field or frame.
    pub macroblock: u32,
    /// The value of all samples, or `None` to copy them from the first reference.
    pub value: Option<u8>,
}

/// Parameter sets of a stream of frames or field pairs of 16 x `32 * pairs` samples.
pub fn parameter_sets(pairs: u32, gaps_allowed: bool) -> Vec<u8> {
    let mut bits = Bits::default();
    // Main profile, level 1; identity 0, frame_num of 4 bits, order of output as of decoding.
    bits.u(8, 77).u(8, 0).u(8, 10).ue(0).ue(0).ue(2);
    // Four reference frames, one macroblock wide, field coding allowed.
    bits.ue(4).u(1, u32::from(gaps_allowed)).ue(0).ue(pairs - 1);
    bits.u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0);
    let mut out = bits.nal(0x67);
    // CAVLC, one slice group, one reference, no weights, quantisers 26, deblocking control.
    bits.align().ue(0).ue(0).u(1, 0).u(1, 0).ue(0).ue(0).ue(0);
    bits.u(1, 0)
        .u(2, 0)
        .ue(0)
        .ue(0)
        .ue(0)
        .u(1, 1)
        .u(1, 0)
        .u(1, 0);
    out.extend(bits.nal(0x68));
    out
}

impl Slice {
    pub fn nal(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.ue(self.macroblock);
        bits.ue(if self.value.is_some() { 7 } else { 5 });
        bits.ue(0).u(4, self.frame_num);
        match self.structure {
            Structure::Frame => bits.u(1, 0),
            Structure::Top => bits.u(1, 1).u(1, 0),
            Structure::Bottom => bits.u(1, 1).u(1, 1),
        };
        if self.idr {
            bits.ue(0);
        }
        if self.value.is_none() {
            // One reference, in the order that it has.
            bits.u(1, 0).u(1, 0);
        }
        // Sliding window, or an IDR picture that is no long-term reference.
        bits.u(if self.idr { 2 } else { 1 }, 0);
        // No change of the quantiser, no deblocking.
        bits.ue(0).ue(1);
        match self.value {
            Some(value) => {
                bits.ue(25).align();
                bits.bytes.extend([value; 384]);
            }
            None => {
                bits.ue(1);
            }
        }
        bits.nal(if self.idr { 0x65 } else { 0x61 })
    }
}
