"""Digests of the shipped models: SHA-256 of each file in ``models/``, as sha256sum prints it.

A model that is asked for by name is compared with this list, and refused if it differs. Whoever changes a
shipped model changes its line here.
"""

SHIPPED = {
    'enet_camvid': '8b5f28385fe92f3dba75ab1e6add25e04fb107a998f9042a767a10bb58a59f0d',
    'enet_camvid_int8': '486705fd83fbb5cd87f86f8e1ca1ac7471c182c3337eb5d241e254dc1c3c7699',
    'lite_camvid': 'a53064e02c689d7309d4ecd244ff3ff92effa956200b0a05bd910fa6349bff49',
    'lite_camvid_int8': '07b1ede5d878dd2e07cacf04eec02435bf3d0bb7da4d3f527ed8cb31cfaf1adb',
    'segments': '49a07ca56b96627d262234933d6b2c6062614259b07b02a4c16e72b4fd7788c3',
    'segnet_camvid_int8': 'd7cb1811d29443cf70bf3a7e109badd52137f697c840a84acab24b107dab2641',
}
"""Name of a shipped model -> SHA-256 of its file, hexadecimal."""

EXPORTED = {
    'lite_camvid_int8': '0a82294bf66dc50e27376dc417721c8404615b9262f9c2038f6c40c0f3ada6d6',
}
"""Name of a shipped model -> SHA-256 of its export in ``models/exported``, made by ``seg_ros export``.

With it, OpenVINO starts without torch for the first time too.
"""
