//! A linear model of what attacks look like: the weights of a value's character sequences add up to how much it resembles
//! attacks more than ordinary text. It is a second opinion on values that look suspicious already, never the only reason
//! for a block: signatures say what an attack is and can be read and corrected one by one, which weights cannot.
//!
//! The weights are made by `cargo xtask train` of data that the project generates; `weights.toml` says of which, and how well
//! they tell families of attacks that they were not made of.

pub mod features;

use features::{BUCKETS, Features, Sequence, VERSION};

/// The weights that are shipped.
const SHIPPED: &[u8] = include_bytes!("../../../model/weights.bin");
/// First bytes of a file of weights.
const MAGIC: &[u8; 7] = b"SENSORW";
/// Bytes in front of the weights: magic, version, and four numbers.
const HEADER_LEN: usize = MAGIC.len() + 1 + 4 * 4;
/// Sequences among which the strongest are chosen that do not stand within one another.
const MOST_CANDIDATES: usize = 24;
/// Bytes of a file of weights.
pub const FILE_LEN: usize = HEADER_LEN + BUCKETS;

/// Weights, and what their sums mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// One for each bucket, in units of `scale`.
    pub weights: Vec<i8>,
    /// What a weight of 1 is.
    pub scale: f32,
    /// The sum of a value without sequences.
    pub bias: f32,
    /// Sums up to this one say nothing: ordinary values have them.
    pub from: f32,
    /// Sums from this one on say all that the model can say.
    pub full: f32,
}

impl Model {
    /// The model that is shipped; `None` if its weights were made for another version of the features, or are damaged.
    #[must_use]
    pub fn shipped() -> Option<Self> {
        Self::parse(SHIPPED)
    }

    /// Reads a file of weights: magic, version of the features, scale, bias, from, full (32-bit floats, little-endian) and a
    /// byte for each bucket. `None` if it is anything else.
    #[must_use]
    pub fn parse(file: &[u8]) -> Option<Self> {
        let rest = file.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        let (numbers, weights) = rest.split_first_chunk::<16>()?;
        let number = |at: usize| {
            let bytes = numbers.get(at * 4..at * 4 + 4)?.try_into().ok()?;
            Some(f32::from_le_bytes(bytes)).filter(|number| number.is_finite())
        };
        let model = Self {
            weights: weights.iter().map(|byte| byte.cast_signed()).collect(),
            scale: number(0)?,
            bias: number(1)?,
            from: number(2)?,
            full: number(3)?,
        };
        (model.weights.len() == BUCKETS && model.from < model.full).then_some(model)
    }

    /// The file of weights that [`Self::parse`] reads.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.push(VERSION);
        for number in [self.scale, self.bias, self.from, self.full] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        file.extend(self.weights.iter().map(|weight| weight.cast_unsigned()));
        file
    }

    /// What the weights of the value's sequences add up to: the more, the more it resembles attacks. The logarithm of the odds,
    /// as far as the training data are like the traffic.
    #[must_use]
    pub fn sum(&self, features: &mut Features, value: &[u8]) -> f32 {
        let mut sum = 0_i32;
        let count = features.each(value, |sequence| sum += self.weight(sequence));
        self.bias + self.scale * sum as f32 * share(count)
    }

    /// How much a sum speaks for an attack, from 0 to 1.
    #[must_use]
    pub fn strength(&self, sum: f32) -> f32 {
        ((sum - self.from) / (self.full - self.from)).clamp(0.0, 1.0)
    }

    /// The `most` sequences of a value that speak for an attack most, with what each adds to the sum; the strongest first. Sequences
    /// within one that is listed are left out.
    #[must_use]
    pub fn strongest(&self, features: &mut Features, value: &[u8], most: usize) -> Vec<(Vec<u8>, f32)> {
        let mut all: Vec<(Vec<u8>, f32)> = Vec::new();
        let count = features.each(value, |sequence| {
            let adds = self.scale * self.weight(sequence) as f32;
            if adds <= 0.0 {
                return;
            }
            if all.len() < MOST_CANDIDATES {
                all.push((sequence.bytes.to_vec(), adds));
            } else if let Some(least) = all.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1))
                && least.1 < adds
            {
                *least = (sequence.bytes.to_vec(), adds);
            }
        });
        all.iter_mut().for_each(|(_, adds)| *adds *= share(count));
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut listed: Vec<(Vec<u8>, f32)> = Vec::new();
        for (bytes, adds) in all {
            let within = |known: &(Vec<u8>, f32)| {
                memchr::memmem::find(&known.0, &bytes).is_some()
                    || memchr::memmem::find(&bytes, &known.0).is_some()
            };
            if listed.len() < most && !listed.iter().any(within) {
                listed.push((bytes, adds));
            }
        }
        listed
    }

    fn weight(&self, sequence: Sequence<'_>) -> i32 {
        let weight = self.weights.get(sequence.bucket).copied().map_or(0, i32::from);
        if sequence.negated { -weight } else { weight }
    }
}

/// What one of `count` sequences weighs: long values say no more than short ones.
#[must_use]
pub fn share(count: usize) -> f32 {
    1.0 / (count.max(1) as f32).sqrt()
}

#[cfg(test)]
mod tests;
