//! What weights, their file and their sums are, on weights made by hand.

use super::*;

fn model(weights: &[(usize, i8)]) -> Model {
    let mut all = vec![0; BUCKETS];
    for &(bucket, weight) in weights {
        all[bucket] = weight;
    }
    Model { weights: all, scale: 0.5, bias: -1.0, from: 1.0, full: 3.0 }
}

fn sequences(value: &str) -> Vec<(Vec<u8>, usize, bool)> {
    let mut found = Vec::new();
    Features::default()
        .each(value.as_bytes(), |one| found.push((one.bytes.to_vec(), one.bucket, one.negated)));
    found
}

#[test]
fn the_shipped_weights_are_of_this_version() {
    let shipped = Model::shipped().unwrap();
    assert_eq!(SHIPPED.len(), FILE_LEN);
    assert!(SHIPPED.len() < 1 << 20);
    assert!(shipped.weights.iter().filter(|weight| **weight != 0).count() > 1000);
}

#[test]
fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
    let written = model(&[(5, -128), (7, 127)]);
    let file = written.to_file();
    assert_eq!((file.len(), Model::parse(&file)), (FILE_LEN, Some(written.clone())));
    let version = [&file[..7], &[VERSION + 1], &file[8..]].concat();
    let not_a_number = [&file[..8], &f32::NAN.to_le_bytes(), &file[12..]].concat();
    for damaged in [&file[..FILE_LEN - 1], &[&file[..], &[0]].concat(), &version, &not_a_number, &[]] {
        assert_eq!(Model::parse(damaged), None);
    }
    let turned = Model { from: 3.0, full: 1.0, ..written };
    assert_eq!(Model::parse(&turned.to_file()), None);
}

#[test]
fn weights_of_sequences_add_up() {
    let all = sequences("ab");
    let (_, bucket, negated) = all.iter().find(|(bytes, ..)| bytes == b"ab").unwrap();
    let model = model(&[(*bucket, if *negated { -10 } else { 10 })]);
    let mut features = Features::default();
    let expected = -1.0 + 0.5 * 10.0 / (all.len() as f32).sqrt();
    assert_eq!(model.sum(&mut features, b"AB"), expected);
    assert_eq!(model.sum(&mut features, b"xy"), -1.0);
    let strongest = model.strongest(&mut features, b"ab", 3);
    assert_eq!(strongest, [(b"ab".to_vec(), expected + 1.0)]);
}

#[test]
fn strength_begins_and_ends_at_the_thresholds() {
    let model = model(&[]);
    assert_eq!([-5.0, 1.0, 2.0, 3.0, 9.0].map(|sum| model.strength(sum)), [0.0, 0.0, 0.5, 1.0, 1.0]);
}
