"""The ratios as one picture: a bar a path and load, the plain relay at 1."""

COLOURS = {"native": "#2f6f4f", "openssl": "#8fb8a0", "aes-128": "#5b8fb9", "peer": "#c9792b"}
LABELS = {"native": "our records", "openssl": "libssl's records", "aes-128": "our records, AES-128", "peer": "the other ztunnel"}
BAR, GAP, LEFT, WIDTH, TOP = 13, 12, 250, 480, 78
STYLE = "text{font:13px system-ui,sans-serif;fill:#222}.s{fill:#666;font-size:12px}@media(prefers-color-scheme:dark){text{fill:#ddd}.s{fill:#999}.b{fill:#16181a}}"


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def draw(rows, names, subtitle):
    """SVG text. `rows`: (label, is more better, {name: {median, low, high}})."""
    most = max([cell["high"] for _, _, cells in rows for cell in cells.values()] + [1.2])
    scale = WIDTH / most
    height = TOP + sum(len(cells) * BAR + GAP for _, _, cells in rows) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {height}" role="img"><style>{STYLE}</style>',
             f'<rect class="b" width="100%" height="100%" fill="#fff"/><text x="16" y="26" font-weight="600">Mutual TLS, of a plain two-hop relay without any</text>',
             f'<text class="s" x="16" y="45">{escape(subtitle)}</text>']
    for index, name in enumerate(names):
        x = 16 + index * 150
        parts.append(f'<rect x="{x}" y="55" width="11" height="11" fill="{COLOURS[name]}"/><text class="s" x="{x + 17}" y="65">{LABELS[name]}</text>')
    y = TOP
    for label, is_more_better, cells in rows:
        parts.append(f'<text x="{LEFT - 10}" y="{y + len(cells) * BAR / 2 + 5:.0f}" text-anchor="end">{escape(label)} <tspan class="s">{"↑" if is_more_better else "↓"}</tspan></text>')
        for name, cell in cells.items():
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{cell["median"] * scale:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>'
                         f'<path d="M{LEFT + cell["low"] * scale:.1f} {y + BAR / 2 - 1}H{LEFT + cell["high"] * scale:.1f}" stroke="#888"/>'
                         f'<text class="s" x="{LEFT + max(cell["median"], cell["high"]) * scale + 6:.1f}" y="{y + BAR - 3}">{cell["median"]:.2f}</text>')
            y += BAR
        y += GAP
    parts.append(f'<path d="M{LEFT + scale:.1f} {TOP - 6}V{y}" stroke="#b33" stroke-dasharray="3 3"/><text class="s" x="{LEFT + scale:.1f}" y="{y + 14}" text-anchor="middle">the relay</text></svg>')
    return "\n".join(parts)
