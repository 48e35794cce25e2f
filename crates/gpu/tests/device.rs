//! Devices and streams.

mod common;

use matou_gpu::{Device, GpuError, list};
use matou_kernels::{Context, Isa};

#[test]
fn devices_are_listed_in_the_same_order_and_opened_once() {
    let devices = list();
    assert_eq!(devices, list());
    for (index, device) in devices.iter().enumerate() {
        assert_eq!(device.index, index);
        assert!(!device.name.is_empty());
    }
    let wanted = devices.len();
    match Device::open(wanted) {
        Err(GpuError::NoDriver) => assert_eq!(wanted, 0),
        Err(GpuError::NoDevice { .. }) => assert!(wanted > 0),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("there is no device {wanted}"),
    }
}

#[test]
fn what_is_uploaded_comes_back() {
    let Some(stream) = common::stream() else {
        return;
    };
    let x = common::values(3 * 1000, 1);
    let tensor = stream.upload(&x, 3, 1000).unwrap();
    assert_eq!(stream.read(&tensor).unwrap(), x);
    drop(tensor);
    // Of the same size, so the same memory; and one with none.
    let y = common::values(3 * 1000, 2);
    let tensor = stream.upload(&y, 1000, 3).unwrap();
    let empty = stream.upload(&[], 0, 7).unwrap();
    assert_eq!(stream.read(&empty).unwrap(), []);
    assert_eq!(stream.read(&tensor).unwrap(), y);
    assert_eq!(stream.counts().bytes_read, 2 * 12_000);
}

#[test]
fn what_no_buffer_holds_is_refused_with_numbers() {
    let Some(stream) = common::stream() else {
        return;
    };
    let limit = stream.device().info().max_binding_bytes;
    let Err(GpuError::TooLarge { bytes, .. }) = stream.tensor(1 << 20, 1 << 20) else {
        panic!("more than {limit} bytes in a buffer");
    };
    assert_eq!(bytes, 4 << 40);
}

#[test]
fn a_sound_device_computes_what_the_cpu_does() {
    let Some(device) = common::device() else {
        return;
    };
    device
        .check_against(&Context::new(Isa::detect(), 1))
        .unwrap();
}

#[test]
fn roofs_are_measured() {
    let Some(stream) = common::stream() else {
        return;
    };
    let roofs = stream.measure_roofs().unwrap();
    for roof in [roofs.read_bandwidth, roofs.int8_macs, roofs.f32_macs] {
        // A million a second is less than any device does.
        assert!(roof.is_finite() && roof > 1e6, "{roofs:?}");
    }
}
