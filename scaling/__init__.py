"""How well a training scales, and why: measured, fitted, drawn, held against published figures.

`python -m scaling run | fit | report | check | seeds`. It starts programs from outside and reads
what they leave behind, summary.json above all. Each folder imports those named after its arrow:

    options                                   what each command can be told
    record    <-                              the study's folder: its rows, what a run left, exports
    measure   <- record, options              starts a point, watches it, writes its row
    measure/inside                            what starts inside a rank: imports nothing of scaling
    laws      <- record, options              medians, ratios, laws, projections; `fit`, `seeds`
    report    <- laws, record, options        sentences, tables, curves, one page; `report`
    check     <- laws, record, options        held against a published figure; `check`

Of cloudmask they use its ground floor: files, host, record, text, and cli's flags and errors.
"""
