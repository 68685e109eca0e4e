"""A process without any code of ROS: receives images by Cyclone DDS and prints a line of JSON for each."""

import hashlib
import json
import sys
import time
from dataclasses import dataclass

from cyclonedds.core import Listener, Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, sequence, uint8, uint32
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class Time(IdlStruct, typename='builtin_interfaces::msg::dds_::Time_'):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename='std_msgs::msg::dds_::Header_'):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename='sensor_msgs::msg::dds_::Image_'):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


class Announcer(Listener):
    def on_subscription_matched(self, reader: DataReader, status: object) -> None:
        print('matched', flush=True)


def main(domain: int, topic: str, n_images: int) -> None:
    participant = DomainParticipant(domain)
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(10))
    images = Topic(participant, f'rt{topic}', Image, qos=qos)
    reader = DataReader(participant, images, qos=qos, listener=Announcer())
    end = time.monotonic() + 60
    while n_images and time.monotonic() < end:
        for image in reader.take(N=10):
            data = bytes(image.data)
            metadata = {
                'stamp_ns': image.header.stamp.sec * 10**9 + image.header.stamp.nanosec,
                'frame_id': image.header.frame_id,
                'shape': [image.height, image.width],
                'step': image.step,
                'encoding': image.encoding,
                'sha256': hashlib.sha256(data).hexdigest(),
            }
            print(json.dumps(metadata), flush=True)
            n_images -= 1
        time.sleep(0.02)


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
