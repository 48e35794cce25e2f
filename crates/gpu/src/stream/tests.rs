use std::sync::atomic::Ordering;

use super::*;

fn stream() -> Option<Stream> {
    Device::open(0).ok().map(|device| device.stream())
}

/// `y[i] = y[i] * factor + x[i]`
fn multiply_add(stream: &Stream, y: &Tensor, x: &Tensor, factor: u32) {
    let source = || {
        "@group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        struct Shape { count: u32, factor: u32 }
        var<immediate> shape: Shape;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < shape.count) { y[id.x] = y[id.x] * f32(shape.factor) + x[id.x]; }
        }"
        .to_owned()
    };
    stream
        .run(Call {
            key: "test: multiply and add",
            source: &source,
            buffers: &[Binding::Read(&x.buffer), Binding::Write(&y.buffer)],
            immediates: &[y.columns as u32, factor],
            groups: [y.columns.div_ceil(64) as u32, 1, 1],
        })
        .unwrap();
}

#[test]
fn commands_run_in_order_and_memory_is_used_again_only_when_it_may() {
    let Some(stream) = stream() else { return };
    let y = stream.upload(&[1.0; 100], 1, 100).unwrap();
    // More than a recording holds. Each upload is a buffer that the one before has left: had the
    // host written it while commands that read it are not submitted, all would add the last.
    let mut expected = 1.0;
    for i in 0..3 * MAX_RECORDED {
        let x = stream.upload(&[(i % 7) as f32; 100], 1, 100).unwrap();
        let factor = 1 + (i % 97 == 0) as u32;
        multiply_add(&stream, &y, &x, factor);
        expected = expected * factor as f32 + (i % 7) as f32;
    }
    assert_eq!(stream.read(&y).unwrap(), [expected; 100]);
    let counts = stream.counts();
    assert_eq!(counts.dispatches, 3 * MAX_RECORDED);
    // The first is short.
    assert_eq!(counts.submissions, 4);
    assert_eq!(counts.bytes_read, 400);
}

#[test]
fn a_shader_that_does_not_compile_is_an_error_with_its_name() {
    let Some(stream) = stream() else { return };
    let error = stream.run(Call {
        key: "broken",
        source: &|| "@compute @workgroup_size(64) fn main() { x = 1; }".to_owned(),
        buffers: &[],
        immediates: &[],
        groups: [1, 1, 1],
    });
    let Err(GpuError::Shader(message)) = error else {
        panic!("{error:?}");
    };
    assert!(message.contains("broken"), "{message}");
    stream.finish().unwrap();
}

/// `1 · 1 + 2`, in a step of its own.
fn assert_works(stream: &Stream) {
    let y = stream.upload(&[1.0; 100], 1, 100).unwrap();
    let x = stream.upload(&[2.0; 100], 1, 100).unwrap();
    multiply_add(stream, &y, &x, 1);
    assert_eq!(stream.read(&y).unwrap(), [3.0; 100]);
}

#[test]
fn what_was_recorded_of_a_step_that_failed_is_never_done() {
    let Some(stream) = stream() else { return };
    // What lasts from step to step, as a cache does.
    let y = stream.upload(&[1.0; 100], 1, 100).unwrap();
    let x = stream.upload(&[2.0; 100], 1, 100).unwrap();
    stream.finish().unwrap();
    multiply_add(&stream, &y, &x, 1);
    let too_large = stream.tensor(1 << 20, 1 << 20).map(|_| ());
    assert!(
        matches!(too_large, Err(GpuError::TooLarge { .. })),
        "{too_large:?}"
    );
    assert_works(&stream);
    assert_eq!(stream.read(&y).unwrap(), [1.0; 100]);

    multiply_add(&stream, &y, &x, 1);
    let broken = stream.run(Call {
        key: "broken again",
        source: &|| "no shader".to_owned(),
        buffers: &[],
        immediates: &[],
        groups: [1, 1, 1],
    });
    assert!(matches!(broken, Err(GpuError::Shader(_))), "{broken:?}");
    assert_works(&stream);
    assert_eq!(stream.read(&y).unwrap(), [1.0; 100]);
}

#[test]
fn without_memory_what_nobody_holds_is_given_back_and_the_step_goes_on() {
    let Some(stream) = stream() else { return };
    let refuse = |times| stream.0.pool.refusals.store(times, Ordering::Relaxed);
    let y = stream.upload(&[1.0; 100], 1, 100).unwrap();
    let x = stream.upload(&[2.0; 100], 1, 100).unwrap();
    multiply_add(&stream, &y, &x, 1);
    drop(x);
    // The commands hold what was dropped: they are done first.
    refuse(1);
    let before = stream.counts();
    let larger = stream.upload(&[5.0; 1000], 1, 1000).unwrap();
    let after = stream.counts();
    assert_eq!(after.submissions, before.submissions + 1);
    assert_eq!(after.allocations, before.allocations + 1);
    multiply_add(&stream, &y, &larger, 2);
    assert_eq!(stream.read(&y).unwrap(), [11.0; 100]);

    // Not even then: the step ends, and the next is done.
    multiply_add(&stream, &y, &larger, 2);
    refuse(2);
    let refused = stream.tensor(1, 5000).map(|_| ());
    assert!(
        matches!(refused, Err(GpuError::OutOfMemory { .. })),
        "{refused:?}"
    );
    assert_works(&stream);
}

#[test]
fn much_work_is_submitted_in_pieces() {
    let recorder = |recorded, work, started| Recorder {
        recorded,
        work,
        started,
        ..Recorder::default()
    };
    // A first piece is short; no piece has too much work, but a dispatch may have.
    assert!(!recorder(31, 0, false).is_full(1));
    assert!(recorder(32, 0, false).is_full(1));
    assert!(!recorder(32, 0, true).is_full(1));
    assert!(recorder(256, 0, true).is_full(1));
    assert!(recorder(1, MAX_WORK, true).is_full(1));
    assert!(!recorder(0, 0, true).is_full(u64::MAX));
}
