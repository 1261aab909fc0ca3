/* panels.h -- private to model/: how panels are counted, made and found. */
#pragma once
#include "model/budget.h"

struct Panels {
    PanelsSpec spec;
    Model *model;
    Weight *weight;  /* (n_params) of each matrix that is multiplied; others have no tile */
    Weight *uk, *uv; /* (L) absorbed MLA: W_UK transposed and W_UV, a matrix a head */
    int64_t bytes;
};

/* Whether a product multiplies with this parameter under this form of MLA, and the layout of its
 * panels. */
bool panels_has(const Model *m, MlaForm mla, const Param *w);
Layout panels_layout(const Model *m, Act act, const Param *w);
/* What cannot be had: a8 without a quantised file, training with it or with absorbed MLA. */
bool panels_check(const Model *m, const PanelsSpec *s, Err *err) CHECKED;
/* Takes the memory and puts the items of the model and of its panels; `threads` will pack. */
Panels *panels_build(Budget *r, Model *m, const PanelsSpec *spec, int64_t threads);
void panels_pack(Panels *p, Team *team); /* fills them for the first time */
