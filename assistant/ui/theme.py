"""How the pages look: system fonts, one calm accent, light and dark. The style sheet lies beside this file."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
ACCENT = gr.themes.Color(
    name="dusk",
    c50="#f1f3fd",
    c100="#e3e7fb",
    c200="#c9d0f6",
    c300="#a5b0ee",
    c400="#8290e4",
    c500="#6472d6",
    c600="#5059bd",
    c700="#42489a",
    c800="#393e7c",
    c900="#2c3060",
    c950="#1c1f3d",
)

MOON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='8'"
    " fill='%235059bd'/><path d='M21 20.5A9 9 0 0 1 13.2 7.2a9.2 9.2 0 1 0 11 11.6 9 9 0 0 1-3.2 1.7z' fill='%23fff'/>"
    "</svg>"
)

SCRIPT = "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("page.js", "kept.js"))
FIRST = (Path(__file__).parent / "line.js").read_text(encoding="utf-8")
"""What has to run before Gradio's own script does."""

HEAD = f"""
<link rel="icon" href="{MOON}">
<meta name="color-scheme" content="light dark">
<script>{SCRIPT}</script>
"""


def theme() -> gr.themes.Base:
    """Gradio's base theme in our colours and with the fonts that the machine has."""
    fonts = [gr.themes.Font(name) for name in FONTS]
    mono = [gr.themes.Font(name) for name in MONO]
    base = gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=fonts,
        font_mono=mono,
    )
    return base.set(
        body_background_fill="#fbfbfd",
        body_background_fill_dark="#12141f",
        background_fill_primary_dark="#1a1d2b",
        background_fill_secondary_dark="#20243a",
        border_color_primary="#e4e6ef",
        border_color_primary_dark="#2d3148",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0px",
        block_shadow="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1a1d2b",
        input_border_width="1px",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1a1d2b",
        button_secondary_border_color="#e4e6ef",
        button_secondary_border_color_dark="#2d3148",
        button_border_width="1px",
        # Not all of it: a button that may be pressed now must be readable at once.
        button_transition="background-color 0.2s ease",
        button_large_text_size="15px",
        button_large_text_weight="600",
        checkbox_label_background_fill="#ffffff",
        checkbox_label_background_fill_dark="#1a1d2b",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="#e4e6ef",
        checkbox_label_border_color_dark="#2d3148",
    )
