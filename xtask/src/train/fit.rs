//! Logistic regression by stochastic gradient descent. Each weight has a step of its own that gets shorter the more it was moved
//! (AdaGrad), weights are drawn towards nothing (L2), and what comes out is rounded to 8 bits.
//!
//! Only additions, multiplications, divisions and square roots of IEEE numbers are used, in a fixed order: the result is the
//! same, bit for bit, on every machine.

use sensor_engine::detect::model::features::BUCKETS;
use sensor_engine::detect::model::{Model, share};

use super::samples::{Sample, Samples};
use super::text::Chance;

/// Times that each sample is looked at.
pub(super) const ROUNDS: usize = 6;
/// First step of a weight.
pub(super) const STEP: f32 = 0.5;
/// How much weights are drawn towards nothing.
pub(super) const DECAY: f32 = 2e-4;
/// Greatest absolute rounded weight.
const MOST: f32 = 127.0;

/// The model of those samples whose family is `wanted`. It has no thresholds yet.
pub(super) fn fit(samples: &Samples, wanted: impl Fn(usize) -> bool) -> Model {
    let mut state = State::default();
    let mut order: Vec<&Sample> = samples.all.iter().filter(|sample| wanted(sample.family)).collect();
    let importance = importance(&order);
    let mut chance = Chance(1);
    for _ in 0..ROUNDS {
        shuffle(&mut order, &mut chance);
        for sample in &order {
            state.learn(sample, importance[usize::from(sample.attack)]);
        }
    }
    state.rounded()
}

/// What a sample of either label counts, so that both count the same together.
fn importance(samples: &[&Sample]) -> [f32; 2] {
    let attacks = samples.iter().filter(|sample| sample.attack).count();
    let of = |count: usize| samples.len() as f32 / (2 * count.max(1)) as f32;
    [of(samples.len() - attacks), of(attacks)]
}

fn shuffle(order: &mut [&Sample], chance: &mut Chance) {
    for end in (1..order.len()).rev() {
        order.swap(end, chance.below(end + 1));
    }
}

struct State {
    weights: Vec<f32>,
    moved: Vec<f32>,
    bias: f32,
    bias_moved: f32,
}

impl Default for State {
    fn default() -> Self {
        Self { weights: vec![0.0; BUCKETS], moved: vec![1e-4; BUCKETS], bias: 0.0, bias_moved: 1.0 }
    }
}

impl State {
    fn sum(&self, sample: &Sample) -> f32 {
        let sum =
            sample.buckets.iter().fold(0.0, |sum, &bucket| sum + sign(bucket) * self.weights[place(bucket)]);
        self.bias + sum * share(sample.buckets.len())
    }

    fn learn(&mut self, sample: &Sample, importance: f32) {
        let wrong = (sigmoid(self.sum(sample)) - f32::from(u8::from(sample.attack))) * importance;
        let part = share(sample.buckets.len());
        for &bucket in &sample.buckets {
            let (weight, moved) = (&mut self.weights[place(bucket)], &mut self.moved[place(bucket)]);
            let slope = wrong * part * sign(bucket) + DECAY * *weight;
            *moved += slope * slope;
            *weight -= STEP * slope / moved.sqrt();
        }
        self.bias_moved += wrong * wrong;
        self.bias -= STEP * wrong / self.bias_moved.sqrt();
    }

    fn rounded(&self) -> Model {
        let greatest = self.weights.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs()));
        let scale = greatest / MOST;
        let weights = self.weights.iter().map(|weight| (weight / scale).round() as i8).collect();
        Model { weights, scale, bias: self.bias, from: 0.0, full: 1.0 }
    }
}

fn place(bucket: i32) -> usize {
    (if bucket < 0 { !bucket } else { bucket }) as usize
}

fn sign(bucket: i32) -> f32 {
    if bucket < 0 { -1.0 } else { 1.0 }
}

/// What the model's sum is for a sample.
pub(super) fn sum(model: &Model, sample: &Sample) -> f32 {
    let weight = |&bucket: &i32| {
        let weight = i32::from(model.weights[place(bucket)]);
        if bucket < 0 { -weight } else { weight }
    };
    let sum: i32 = sample.buckets.iter().map(weight).sum();
    model.bias + model.scale * sum as f32 * share(sample.buckets.len())
}

/// 1 / (1 + e^-x). The exponential is (1 - x/1024)^1024, by squaring: libraries round theirs differently.
fn sigmoid(x: f32) -> f32 {
    let mut power = 1.0 - f64::from(x.clamp(-30.0, 30.0)) / 1024.0;
    for _ in 0..10 {
        power *= power;
    }
    (1.0 / (1.0 + power)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::samples::Family;
    use super::*;

    fn sample(family: usize, attack: bool, buckets: &[i32]) -> Sample {
        Sample { family, attack, buckets: buckets.to_vec() }
    }

    #[test]
    fn what_tells_attacks_gets_weight() {
        let family = |attack| Family { kind: String::new(), attack };
        let all =
            (0..40).flat_map(|_| [sample(0, true, &[1, !7, 3]), sample(1, false, &[2, 7, 3])]).collect();
        let samples = Samples { families: vec![family(true), family(false)], all };
        let model = fit(&samples, |_| true);
        assert!(model.weights[1] > 0 && model.weights[2] < 0 && model.weights[7] < 0);
        assert!(model.weights[3].abs() < model.weights[1] / 4, "{}", model.weights[3]);
        assert!(sum(&model, &samples.all[0]) > 1.0 && sum(&model, &samples.all[1]) < -1.0);
    }

    #[test]
    fn the_sigmoid_is_one() {
        for x in [-20.0_f32, -3.0, -0.5, 0.0, 0.1, 2.0, 15.0] {
            let expected = 1.0 / (1.0 + (-x).exp());
            assert!((sigmoid(x) - expected).abs() < 0.002, "{x}");
        }
    }
}
